"""Scores labels that the model was never trained on, from their words (section 4.3)."""

from collections.abc import Callable

import tensorflow as tf

from ctxvision.data.decoding import decode_pictures
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures.picture_batch import Find, blank_invalid


def zero_shot_signature(
    model: ContextClassifier, embed_queries: Callable[[tf.Tensor], tf.Tensor], find: Find, with_text: bool
) -> tf.types.experimental.GenericFunction:
    """Returns the signature `zero_shot`: see `build_signatures`.

    The score is the cosine of the candidate with the picture's context minus the average context of training, so that
    no candidate gains by lying near every picture.
    """
    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
    embeddings = tf.TensorSpec([None, model.phrase_embeddings.dim], tf.float32, name="candidate_embeddings")
    labels = tf.TensorSpec([None], tf.string, name="candidate_labels")
    none, no_labels = tf.zeros([0, model.phrase_embeddings.dim]), tf.constant([], tf.string)

    def scored(image_bytes: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, valid = decode_pictures(image_bytes, model.image_size)
        context = find(embed_queries(pixels)).vector - model.fusion.average_input(1)
        scores = tf.matmul(
            tf.math.l2_normalize(context, axis=1), tf.math.l2_normalize(candidates, axis=1), transpose_b=True
        )
        return blank_invalid({"scores": scores}, valid)

    @tf.function(input_signature=[encoded, embeddings], autograph=False)
    def by_embeddings(image_bytes: tf.Tensor, candidate_embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        return scored(image_bytes, candidate_embeddings)

    if not with_text:
        return by_embeddings

    @tf.function(input_signature=[encoded, embeddings, labels], autograph=False)
    def scored_both(image_bytes: tf.Tensor, candidates: tf.Tensor, words: tf.Tensor) -> dict[str, tf.Tensor]:
        return scored(image_bytes, tf.concat([candidates, model.text(words)], axis=0))

    # Saving traces a function with optional inputs again, and all functions inside it but concrete ones.
    concrete = scored_both.get_concrete_function()

    # Defaults that are tensors become the signature's defaults: TF Serving fills in inputs that a request lacks.
    @tf.function(input_signature=[encoded, embeddings, labels], autograph=False)
    def by_both(
        image_bytes: tf.Tensor,
        candidate_embeddings: tf.Tensor = none,
        candidate_labels: tf.Tensor = no_labels,
    ) -> dict[str, tf.Tensor]:
        return concrete(image_bytes, candidate_embeddings, candidate_labels)

    return by_both
