"""Answers pictures, given in one of three forms, with labels, scores and phrases."""

import tensorflow as tf

from ctxvision.data.decoding import decode_pictures
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures.labels import Labels
from ctxvision.serving.signatures.picture_batch import Embed, Find, blank_invalid

TOP_LABELS = 5
# Share of the caller's own text in the context; chosen on `val` of the demo.
TEXT_SHARE = 0.4


def answer_signatures(
    model: ContextClassifier, embed: Embed, find: Find, labels: Labels, with_text: bool
) -> dict[str, tf.types.experimental.GenericFunction]:
    """Returns `serving_default`, `pixels`, `pixels_float32` and, with text, `with_context`: see `build_signatures`."""
    size, top = model.image_size, min(TOP_LABELS, len(model.labels))
    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
    whole, fractional = (
        tf.TensorSpec([None, None, None, 3], dtype, name="pixels") for dtype in (tf.uint8, tf.float32)
    )

    def answer(pixels: tf.Tensor, valid: tf.Tensor, texts: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        queries, visual = embed(pixels)
        found = find(queries)
        context = found.vector if texts is None else joined(found.vector, model.text(texts))
        probabilities = model.fuse(visual, context, queries)
        outputs = {
            "probabilities": probabilities,
            **labels.named(*tf.math.top_k(probabilities, top)),
            "phrases": model.phrases_of(found.ids),
            "phrase_scores": found.scores,
        }
        return blank_invalid(outputs, valid)

    @tf.function(input_signature=[encoded], autograph=False)
    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(*decode_pictures(image_bytes, size))

    @tf.function(input_signature=[whole], autograph=False)
    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(pixels, tf.ones(tf.shape(pixels)[:1], tf.bool))

    @tf.function(input_signature=[fractional], autograph=False)
    def from_float_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # A ConvNet may turn NaN into a finite answer.
        return answer(pixels, tf.reduce_all(tf.math.is_finite(pixels), axis=[1, 2, 3]))

    @tf.function(input_signature=[encoded, tf.TensorSpec([None], tf.string, name="texts")], autograph=False)
    def with_context(image_bytes: tf.Tensor, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        same = tf.debugging.assert_equal(
            tf.size(texts),
            tf.size(image_bytes),
            "texts must be as many as image_bytes, '' for a picture without a text",
        )
        with tf.control_dependencies([same]):
            return answer(*decode_pictures(image_bytes, size), texts=texts)

    signatures = {
        "serving_default": serving_default,
        "pixels": from_pixels,
        "pixels_float32": from_float_pixels,
    }
    return {**signatures, "with_context": with_context} if with_text else signatures


def joined(context: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
    """Mixes the context [B, T] of the found phrases with that of the caller's text [B, T]; ignores texts of zeros."""
    given = tf.reduce_any(tf.not_equal(texts, 0.0), axis=1, keepdims=True)
    return tf.where(given, (1 - TEXT_SHARE) * context + TEXT_SHARE * texts, context)
