"""Returns the embeddings of pictures, and the phrases found under a caller's own rules."""

from typing import Any

import tensorflow as tf

from ctxvision.data.decoding import decode_pictures
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures.picture_batch import Embed, blank_invalid
from ctxvision.serving.signatures.rules import Rules


def embed_signature(model: ContextClassifier, embed_both: Embed) -> tf.types.experimental.GenericFunction:
    """Returns the signature `embed`: see `build_signatures`."""

    def embed(image_bytes: tf.Tensor, **asked: Any) -> dict[str, tf.Tensor]:
        pixels, valid = decode_pictures(image_bytes, model.image_size)
        queries, visual = embed_both(pixels)
        found = model.find_context(queries, **asked)
        outputs = {
            "query_embedding": queries,
            "visual": visual,
            "context": found.vector,
            "phrases": model.phrases_of(found.ids),
            "phrase_scores": found.scores,
            "phrase_ids": found.ids,
        }
        answer = blank_invalid(outputs, valid)
        answer["phrase_ids"] = tf.where(answer["valid"][:, tf.newaxis], answer["phrase_ids"], -1)
        return answer

    return Rules(model.retrieval).signature(embed)
