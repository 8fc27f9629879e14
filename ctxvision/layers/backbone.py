"""ConvNets that turn pixels into one vector: by name, by Keras model, or by SavedModel folder."""

import os
import sys
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm, synchronized

Backbone: TypeAlias = "str | os.PathLike[str] | keras.Model"


def build_backbone(backbone: Backbone, image_size: int | None = None) -> keras.Model:
    """Builds a model from float pixels in 0..255, [B, S, S, 3], to features [B, D], not normalised.

    Args:
        backbone: `"resnet_mini"` (0.7 M parameters, for CPUs), the name of a `tf_keras.applications` model
            in any spelling (`"resnet101"`, `"inception_v3"`), a Keras model whose input is float pixels in
            0..255 and whose output is [B, D] or a feature map (averaged here), or the folder of a
            SavedModel whose `serving_default` maps pixels to [B, D] (used frozen). Weights start at random.
        image_size: S. Default: 48 for `resnet_mini`, what the name's authors used for applications, the
            given model's own, 224 for a SavedModel.

    Returns:
        The Keras model; `model.input_shape[1]` is S.

    Raises:
        ValueError: the name is none of these, or the model's output is not one tensor of rank 2 or 4.
    """
    if isinstance(backbone, keras.Model):
        return _with_flat_output(backbone)
    name = os.fspath(backbone)
    if os.path.isfile(os.path.join(name, "saved_model.pb")):
        pixels = keras.Input((image_size or 224, image_size or 224, 3), name="pixels")
        return keras.Model(pixels, SavedModelTower(os.path.abspath(name))(pixels), name="saved_model")
    if name == "resnet_mini":
        return _resnet_mini(image_size or 48)
    application = _application(name)
    size = image_size or (299 if "ception" in name.lower() else 224)
    pixels = keras.Input((size, size, 3), name="pixels")
    network = application(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    return keras.Model(pixels, synchronized(network)(ApplicationPixels(name)(pixels)), name=network.name)


def _application(name: str) -> Any:
    """The function of `tf_keras.applications` called `name` in any case, with or without underscores."""
    functions = {
        key.lower(): function
        for key, function in vars(keras.applications).items()
        if callable(function) and key[:1].isupper()
    }
    plain = name.lower().replace("_", "").replace("-", "")
    if plain not in functions:
        raise ValueError(
            f"backbone must be 'resnet_mini', a tf_keras.applications name, a Keras model or the folder of a "
            f"SavedModel, got {name!r}: use one of resnet_mini, {', '.join(sorted(functions))}."
        )
    return functions[plain]


def _with_flat_output(model: keras.Model) -> keras.Model:
    shape = model.output_shape
    if isinstance(shape, tuple) and len(shape) == 2:
        return model
    if isinstance(shape, tuple) and len(shape) == 4:
        pooled = keras.layers.GlobalAveragePooling2D()(model.output)
        return keras.Model(model.input, pooled, name=model.name)
    raise ValueError(
        f"backbone must have one output of shape [B, D] or [B, H, W, D], got {shape}: cut the model at such a layer."
    )


def _resnet_mini(size: int) -> keras.Model:
    """A stride-2 stem and three residual stages of 48, 96 and 192 channels."""

    def convolution(x: Any, channels: int, kernel: int, stride: int) -> Any:
        x = keras.layers.Conv2D(
            channels, kernel, stride, "same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        return batch_norm(momentum=0.95)(x)

    pixels = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 64.0, offset=-2.0)(pixels)
    x = keras.layers.ReLU()(convolution(x, 24, 3, 2))
    for channels, stride in ((48, 1), (96, 2), (192, 2)):
        shortcut = convolution(x, channels, 1, stride)
        x = keras.layers.ReLU()(convolution(x, channels, 3, stride))
        x = keras.layers.ReLU()(keras.layers.Add()([convolution(x, channels, 3, 1), shortcut]))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x), name="resnet_mini")


@keras.saving.register_keras_serializable("ctxvision")
class ApplicationPixels(keras.layers.Layer):
    """Scales pixels in 0..255 the way the `tf_keras.applications` model called `application` wants them."""

    def __init__(self, application: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.application = application
        self._preprocess = sys.modules[_application(application).__module__].preprocess_input  # type: ignore

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        return self._preprocess(tf.identity(pixels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "application": self.application}


@keras.saving.register_keras_serializable("ctxvision")
class SavedModelTower(keras.layers.Layer):
    """The `serving_default` signature of the SavedModel in `directory`, frozen: float pixels to [B, D]."""

    def __init__(self, directory: str, **kwargs: Any):
        # Float32 whatever the policy: the SavedModel has dtypes of its own.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.directory = directory
        self._loaded = tf.saved_model.load(directory)
        self._signature = self._loaded.signatures["serving_default"]
        outputs = list(self._signature.structured_outputs.values())
        inputs = list(self._signature.structured_input_signature[1])
        if len(inputs) != 1 or len(outputs) != 1 or outputs[0].shape.rank != 2:
            raise ValueError(
                f"backbone must be a SavedModel that maps one input to one [B, D] output, got inputs {inputs} and "
                f"outputs {[tuple(o.shape) for o in outputs]} in {directory}: export the bottleneck alone."
            )
        self._input_name, self._dim = inputs[0], outputs[0].shape[-1]

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        (features,) = self._signature(**{self._input_name: pixels}).values()
        return tf.stop_gradient(tf.ensure_shape(features, (None, self._dim)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "directory": self.directory}


def resize_for(backbone: keras.Model, pixels: tf.Tensor) -> tf.Tensor:
    """Pixels [B, H, W, 3], uint8 or float in 0..255, as float at the backbone's input size."""
    pixels = tf.convert_to_tensor(pixels)
    if pixels.shape.rank != 4 or pixels.shape[-1] not in (3, None):
        raise ValueError(
            f"pixels must have shape [B, H, W, 3], got {tuple(pixels.shape)}: add the batch axis and convert to RGB."
        )
    if pixels.dtype != tf.uint8 and not pixels.dtype.is_floating:
        raise ValueError(
            f"pixels must be uint8 or float in 0..255, got dtype {pixels.dtype.name}: cast them first."
        )
    size = tuple(backbone.input_shape[1:3])
    pixels = tf.cast(pixels, tf.float32)
    if None in size or tuple(pixels.shape[1:3]) == size:
        return pixels
    return tf.image.resize(pixels, size, method="bilinear", antialias=True)
