"""Networks of `tf_keras.applications` by their names, with the pixel scales of their authors."""

import functools
import sys
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import synchronized
from ctxvision.layers.pretrained import imagenet_weights, plain_name


def find_application(name: str) -> Any:
    """Finds the function of `tf_keras.applications` called `name`, in any case, with or without underscores."""
    functions = {
        key.lower(): function
        for key, function in vars(keras.applications).items()
        if callable(function) and key[:1].isupper()
    }
    plain = plain_name(name)
    if plain not in functions:
        raise ValueError(
            f"backbone must be 'resnet_mini', a tf_keras.applications name, a Keras model, a .keras file or the folder "
            f"of a SavedModel, got {name!r}: use one of resnet_mini, {', '.join(sorted(functions))}."
        )
    return functions[plain]


def application_network(name: str, size: int, imagenet: bool) -> keras.Model:
    """Builds a `tf_keras.applications` network with average pooling and without its classifier.

    Its weights are random, or with `imagenet` those that Keras publishes.
    """
    application = functools.partial(
        find_application(name), include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    if not imagenet:
        return synchronized(application(weights=None))
    network = imagenet_weights(name, application)
    copied = synchronized(network)
    if copied is not network:
        copied.set_weights(network.get_weights())
    return copied


@keras.saving.register_keras_serializable("ctxvision")
class ApplicationPixels(keras.layers.Layer):
    """Scales pixels in 0..255 for the `tf_keras.applications` model called `application`."""

    def __init__(self, application: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.application = application
        self._preprocess = sys.modules[find_application(application).__module__].preprocess_input  # type: ignore

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        return self._preprocess(tf.identity(pixels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "application": self.application}
