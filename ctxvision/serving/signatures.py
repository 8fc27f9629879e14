"""The signatures of an export: encoded pictures or pixels in, a readable answer out."""

import tensorflow as tf

from ctxvision.data.pictures import decode_picture
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.models.explanation import explain

TOP_LABELS = 5
TOP_EXPLAINED = 3
_DECODERS = 8


def build_signatures(
    model: ContextClassifier,
) -> tuple[tf.Module, dict[str, tf.types.experimental.ConcreteFunction]]:
    """Traces a classifier into what `tf.saved_model.save` takes: a module and its signatures.

    Every signature takes any number of pictures, none included. A row that cannot be answered (no picture, or
    an answer that is not finite) comes back with `valid` false, zeros and empty strings; the others are right.

    Args:
        model: a built classifier.

    Returns:
        The module, which holds just the variables that the signatures read, and the signatures:
        `serving_default` (`image_bytes` string [B]) and `pixels` (`pixels` uint8 [B, H, W, 3]) to
        `probabilities` float32 [B, L], `labels` string and `scores` float32 [B, top], most probable first,
        `phrases` string and `phrase_scores` float32 cosine [B, k], `valid` bool [B]; and `explain`
        (`image_bytes`) to `labels`, `scores`, `phrases`, `phrase_scores`, `phrase_shares` float32 [B, top, k],
        `visual_shares` float32 [B, top], `valid`. `top` is 5, in `explain` 3, or L where that is less.
    """
    labels = tf.Variable(model.labels, dtype=tf.string, trainable=False, name="labels")
    size, top = model.image_size, min(TOP_LABELS, len(model.labels))
    encoded = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    raw = [tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")]

    def answer(pixels: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model(pixels, training=False)
        scores, ids = tf.math.top_k(found["probabilities"], top)
        outputs = {
            "probabilities": found["probabilities"],
            "labels": tf.gather(labels, ids),
            "scores": scores,
            "phrases": found["phrases"],
            "phrase_scores": found["phrase_scores"],
        }
        return _blank_invalid(outputs, valid)

    @tf.function(input_signature=encoded, autograph=False)
    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(*decode_pictures(image_bytes, size))

    @tf.function(input_signature=raw, autograph=False)
    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(pixels, tf.ones(tf.shape(pixels)[:1], tf.bool))

    @tf.function(input_signature=encoded, autograph=False)
    def explained(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, valid = decode_pictures(image_bytes, size)
        found = explain(model, pixels, TOP_EXPLAINED)
        outputs = {
            "labels": tf.gather(labels, found["label_ids"]),
            "scores": found["scores"],
            "phrases": found["phrases"],
            "phrase_scores": found["phrase_scores"],
            "phrase_shares": found["shares"],
            "visual_shares": found["visual"],
        }
        return _blank_invalid(outputs, valid)

    functions = {"serving_default": serving_default, "pixels": from_pixels, "explain": explained}
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    module = tf.Module()
    # Not the model itself: Keras would save each layer's own functions too, tensorflow-text's ops among them.
    used = {id(variable): variable for s in signatures.values() for variable in s.graph.variables}
    module.read_variables = list(used.values())
    return module, signatures


def decode_pictures(image_bytes: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a batch in which some pictures may be broken, with core ops alone.

    Args:
        image_bytes: string [B], files' contents; B may be 0.
        image_size: side S of the square they are resized to.

    Returns:
        uint8 [B, S, S, 3], zeros where there is no picture, and bool [B], true where there is one.
    """
    batch = tf.size(image_bytes)
    shape = [image_size, image_size, 3]

    def decode(row: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return row, decode_picture(encoded, image_size)

    # The only core op that outlives a failed decode is tf.data's: it drops the row, so its number goes along.
    decoded = tf.data.Dataset.zip(
        (tf.data.Dataset.range(tf.cast(batch, tf.int64)), tf.data.Dataset.from_tensor_slices(image_bytes))
    )
    decoded = decoded.map(decode, num_parallel_calls=_DECODERS, deterministic=True).ignore_errors()
    none = tf.data.Dataset.from_tensors((tf.zeros([0], tf.int64), tf.zeros([0, *shape], tf.uint8)))
    together = decoded.batch(tf.cast(tf.maximum(batch, 1), tf.int64)).concatenate(none).take(1)
    rows, pictures = together.get_single_element()
    rows = rows[:, tf.newaxis]
    pixels = tf.scatter_nd(rows, pictures, tf.cast([batch, *shape], tf.int64))
    counts = tf.scatter_nd(rows, tf.ones_like(rows[:, 0]), tf.cast([batch], tf.int64))
    return tf.ensure_shape(pixels, [None, *shape]), counts > 0


def _blank_invalid(outputs: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Adds `valid`, and puts zeros and empty strings where it or the answer's finiteness is false."""
    for value in outputs.values():
        if value.dtype.is_floating:
            finite = tf.reshape(
                tf.math.is_finite(value), [tf.size(valid), tf.reduce_prod(tf.shape(value)[1:])]
            )
            valid &= tf.reduce_all(finite, axis=1)

    def blank(value: tf.Tensor) -> tf.Tensor:
        keep = tf.reshape(
            valid, tf.concat([tf.shape(valid), tf.ones([value.shape.rank - 1], tf.int32)], axis=0)
        )
        return tf.where(keep, value, "" if value.dtype == tf.string else tf.zeros([], value.dtype))

    return {**{name: blank(value) for name, value in outputs.items()}, "valid": valid}
