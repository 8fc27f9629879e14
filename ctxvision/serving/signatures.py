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
) -> tuple[tf.Module, dict[str, tf.types.experimental.GenericFunction]]:
    """Traces a classifier into what `tf.saved_model.save` takes: a module and its signatures.

    Every signature takes any number of pictures, none included. A row that cannot be answered (no picture, or
    an answer that is not finite) comes back with `valid` false, zeros and empty strings; the others are right.

    Args:
        model: a built classifier.

    Returns:
        The module, which holds just the variables that the signatures read, and the signatures:
        `serving_default` (`image_bytes` string [B]) and `pixels` (`pixels` uint8 [B, H, W, 3]) to
        `probabilities` float32 [B, L], `labels` string and `scores` float32 [B, top], most probable first,
        `phrases` string and `phrase_scores` float32 [B, k] as of `PrototypeRetrieval`, `valid` bool [B]; and `explain`
        (`image_bytes`) to `labels`, `scores`, `phrases`, `phrase_scores`, `phrase_shares` float32 [B, top, k],
        `visual_shares` float32 [B, top], `valid`. `top` is 5, in `explain` 3, or L where that is less. Where the model
        has thresholds, all three give `accepted` bool [B, top]: whether each of `labels` passes its own. `embed`
        takes `image_bytes` and, all optional: `k` int32 [], `min_score` float32 [], `allow_languages`,
        `deny_languages`, `allow_flags`, `deny_flags` string [M], `deny_ids` int32 [M], see
        `PrototypeRetrieval.filter`; it gives `query_embedding` float32 [B, 64], L2-normalised, `visual` [B, D],
        `context` [B, T] of the phrases found, `phrases`, `phrase_scores`, `phrase_ids` int32 [B, k], -1 where there
        is none, and `valid`.
    """
    labels = tf.Variable(model.labels, dtype=tf.string, trainable=False, name="labels")
    size, top = model.image_size, min(TOP_LABELS, len(model.labels))
    encoded = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    raw = [tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")]

    thresholds = None
    if model.thresholds is not None:
        thresholds = tf.Variable(model.thresholds, dtype=tf.float32, trainable=False, name="thresholds")

    def accepted(scores: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {} if thresholds is None else {"accepted": scores >= tf.gather(thresholds, ids)}

    def answer(pixels: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model(pixels, training=False)
        scores, ids = tf.math.top_k(found["probabilities"], top)
        outputs = {
            "probabilities": found["probabilities"],
            "labels": tf.gather(labels, ids),
            "scores": scores,
            "phrases": found["phrases"],
            "phrase_scores": found["phrase_scores"],
            **accepted(scores, ids),
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
            **accepted(found["scores"], found["label_ids"]),
        }
        return _blank_invalid(outputs, valid)

    signatures = {
        "serving_default": serving_default,
        "pixels": from_pixels,
        "explain": explained,
        "embed": _embed_signature(model, size),
    }
    module = tf.Module()
    # Not the model itself: Keras would save each layer's own functions too, tensorflow-text's ops among them.
    graphs = [signature.get_concrete_function().graph for signature in signatures.values()]
    used = {id(variable): variable for graph in graphs for variable in graph.variables}
    module.read_variables = list(used.values())
    return module, signatures


def _embed_signature(model: ContextClassifier, size: int) -> tf.types.experimental.GenericFunction:
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
        queries = model.phrase_generator(pixels, training=False)
        where = model.retrieval.filter(allow_languages, deny_languages, allow_flags, deny_flags, deny_ids)
        found = model.retrieval(queries, k=k, min_score=min_score, where=where)
        outputs = {
            "query_embedding": queries,
            "visual": model.visual_encoder(pixels, training=False),
            "context": model.pooling([model.text(found.ids), found.scores]),
            "phrases": found.phrases,
            "phrase_scores": found.scores,
            "phrase_ids": found.ids,
        }
        answer = _blank_invalid(outputs, valid)
        answer["phrase_ids"] = tf.where(answer["valid"][:, tf.newaxis], answer["phrase_ids"], -1)
        return answer

    return embed


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
