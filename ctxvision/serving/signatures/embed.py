"""What the towers see in a picture, and the phrases found for it under a caller's own rules."""

import tensorflow as tf

from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures.picture_batch import Embed, blank_invalid, decode_pictures


def embed_signature(model: ContextClassifier, embed_both: Embed) -> tf.types.experimental.GenericFunction:
    """`embed`: see `build_signatures`."""
    size = model.image_size
    names = tf.TensorSpec([None], tf.string)
    spec = [
        tf.TensorSpec([None], tf.string, name="image_bytes"),
        tf.TensorSpec([], tf.int32, name="k"),
        tf.TensorSpec([], tf.float32, name="min_score"),
        *(
            tf.TensorSpec(names.shape, names.dtype, name=name)
            for name in ("allow_languages", "deny_languages", "allow_flags", "deny_flags")
        ),
        tf.TensorSpec([None], tf.int32, name="deny_ids"),
    ]
    no_names, no_ids = tf.constant([], tf.string), tf.constant([], tf.int32)
    all_built, any_score = tf.constant(model.retrieval.k), tf.constant(-2.0)

    # Defaults that are tensors become the signature's: TF Serving fills in what a request leaves out.
    @tf.function(input_signature=spec, autograph=False)
    def embed(
        image_bytes: tf.Tensor,
        k: tf.Tensor = all_built,
        min_score: tf.Tensor = any_score,
        allow_languages: tf.Tensor = no_names,
        deny_languages: tf.Tensor = no_names,
        allow_flags: tf.Tensor = no_names,
        deny_flags: tf.Tensor = no_names,
        deny_ids: tf.Tensor = no_ids,
    ) -> dict[str, tf.Tensor]:
        pixels, valid = decode_pictures(image_bytes, size)
        queries, visual = embed_both(pixels)
        where = model.retrieval.filter(allow_languages, deny_languages, allow_flags, deny_flags, deny_ids)
        found = model.retrieval(queries, k=k, min_score=min_score, where=where)
        outputs = {
            "query_embedding": queries,
            "visual": visual,
            "context": model.pooling([model.text(found.ids), found.scores]),
            "phrases": found.phrases,
            "phrase_scores": found.scores,
            "phrase_ids": found.ids,
        }
        answer = blank_invalid(outputs, valid)
        answer["phrase_ids"] = tf.where(answer["valid"][:, tf.newaxis], answer["phrase_ids"], -1)
        return answer

    return embed
