"""Adds a caller's own rules for retrievable phrases as optional inputs of a signature."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ctxvision.layers.prototype_retrieval import PrototypeRetrieval

_NAMES = ("allow_languages", "deny_languages", "allow_flags", "deny_flags")


class Rules:
    """The inputs `k`, `min_score` and the filter's lists, whose defaults change nothing.

    Args:
        retrieval: an indexed layer.
    """

    def __init__(self, retrieval: PrototypeRetrieval):
        self._retrieval = retrieval

    def signature(self, answer: Callable[..., Any]) -> tf.types.experimental.GenericFunction:
        """Returns the function `answer(image_bytes, k=, min_score=, where=)` with one input for each rule."""
        spec = [
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([], tf.int32, name="k"),
            tf.TensorSpec([], tf.float32, name="min_score"),
            *(tf.TensorSpec([None], tf.string, name=name) for name in _NAMES),
            tf.TensorSpec([None], tf.int32, name="deny_ids"),
        ]

        @tf.function(input_signature=spec, autograph=False)
        def answered(image_bytes: tf.Tensor, k: tf.Tensor, min_score: tf.Tensor, *lists: tf.Tensor) -> Any:
            where = self._retrieval.filter(*lists)
            return answer(image_bytes, k=k, min_score=min_score, where=where)

        # Saving traces a function with optional inputs again, and all functions inside it but concrete ones.
        concrete = answered.get_concrete_function()
        no_names, no_ids = tf.constant([], tf.string), tf.constant([], tf.int32)
        all_built, any_score = tf.constant(self._retrieval.k), tf.constant(-2.0)

        # Defaults that are tensors become the signature's defaults: TF Serving fills in inputs that a request lacks.
        @tf.function(input_signature=spec, autograph=False)
        def ruled(
            image_bytes: tf.Tensor,
            k: tf.Tensor = all_built,
            min_score: tf.Tensor = any_score,
            allow_languages: tf.Tensor = no_names,
            deny_languages: tf.Tensor = no_names,
            allow_flags: tf.Tensor = no_names,
            deny_flags: tf.Tensor = no_names,
            deny_ids: tf.Tensor = no_ids,
        ) -> Any:
            lists = allow_languages, deny_languages, allow_flags, deny_flags, deny_ids
            return concrete(image_bytes, k, min_score, *lists)

        return ruled
