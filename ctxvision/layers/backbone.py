"""ConvNets that turn pixels into one vector: by name, by Keras model or its file, or by SavedModel folder."""

import os
import sys
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm, synchronized

Backbone: TypeAlias = "str | os.PathLike[str] | keras.Model"

# What towers want their pixels to be: the mean and the deviation, in 0..255, that make zero and one of them.
PIXELS: dict[str, tuple[Any, Any]] = {
    "0..255": (0.0, 1.0),
    "0..1": (0.0, 255.0),
    "-1..1": (127.5, 127.5),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.771, 116.746, 104.094), (68.500, 66.632, 70.323)),
}


def build_backbone(backbone: Backbone, image_size: int | None = None, pixels: str = "0..255") -> keras.Model:
    """Builds a model from float pixels in 0..255, [B, S, S, 3], to features [B, D], not normalised.

    Args:
        backbone: `"resnet_mini"` (0.3 M parameters, for CPUs) or the name of a `tf_keras.applications` model in any
            spelling (`"resnet101"`, `"inception_v3"`), both with random weights; a Keras model, or the `.keras` file
            of one, whose output is [B, D] or a feature map (averaged here); or the folder of a SavedModel whose
            `serving_default` maps float pixels [B, H, W, 3] to [B, D]. All but the last can be trained.
        image_size: S. Default: 48 for `resnet_mini`, what the name's authors used for applications, the
            given model's own, 224 for a SavedModel. A SavedModel of another fixed size resizes inside.
        pixels: what a Keras model or SavedModel wants: "0..255", "0..1", "-1..1", "imagenet" (0..1, less the mean and
            over the deviation of each colour there) or "clip" (the same, of CLIP's pictures). Those given by name know.

    Returns:
        The Keras model; `model.input_shape[1]` is S.

    Raises:
        ValueError: the backbone or `pixels` is none of these, or the model's output is not one tensor of rank 2 or 4.
    """
    check_backbone(backbone, pixels)
    if isinstance(backbone, keras.Model):
        return _scaled(_with_flat_output(backbone), pixels)
    name = os.fspath(backbone)
    if os.path.isfile(name):
        return _scaled(_with_flat_output(keras.models.load_model(name, compile=False)), pixels)
    if os.path.isdir(name):
        given = keras.Input((image_size or 224, image_size or 224, 3), name="pixels")
        tower = keras.Model(given, SavedModelTower(os.path.abspath(name))(given), name="saved_model")
        return _scaled(tower, pixels)
    if name == "resnet_mini":
        return _resnet_mini(image_size or 48)
    application = _application(name)
    size = image_size or (299 if "ception" in name.lower() else 224)
    given = keras.Input((size, size, 3), name="pixels")
    network = application(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    return keras.Model(given, synchronized(network)(ApplicationPixels(name)(given)), name=network.name)


def check_backbone(backbone: Backbone, pixels: str = "0..255") -> None:
    """Refuses what `build_backbone` cannot build, as far as is seen without building it."""
    if pixels not in PIXELS:
        raise ValueError(f"pixels must be one of {', '.join(PIXELS)}, got {pixels!r}: choose one of them.")
    if isinstance(backbone, keras.Model):
        return
    name = os.fspath(backbone)
    if os.path.isfile(os.path.join(name, "saved_model.pb")):
        return
    if os.path.isfile(name) and name.endswith(".keras"):
        return
    if name != "resnet_mini":
        _application(name)
    if pixels != "0..255":
        raise ValueError(
            f"pixels must be left out for a backbone given by name, which knows its own, got {pixels!r} for {name!r}."
        )


def _scaled(model: keras.Model, pixels: str) -> keras.Model:
    """`model` over pixels in 0..255."""
    if pixels == "0..255":
        return model
    mean, deviation = PIXELS[pixels]
    given = keras.Input(model.input_shape[1:], name="pixels")
    variance = tf.nest.map_structure(lambda value: value * value, deviation)
    scaled = keras.layers.Normalization(mean=mean, variance=variance)(given)
    return keras.Model(given, model(scaled), name=model.name)


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
            f"backbone must be 'resnet_mini', a tf_keras.applications name, a Keras model, a .keras file or the folder "
            f"of a SavedModel, got {name!r}: use one of resnet_mini, {', '.join(sorted(functions))}."
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
    """A stride-2 stem and three residual stages of 32, 64 and 128 channels."""

    def convolution(x: Any, channels: int, kernel: int, stride: int) -> Any:
        x = keras.layers.Conv2D(
            channels, kernel, stride, "same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        return batch_norm(momentum=0.95)(x)

    pixels = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 64.0, offset=-2.0)(pixels)
    x = keras.layers.ReLU()(convolution(x, 16, 3, 2))
    for channels, stride in ((32, 1), (64, 2), (128, 2)):
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
    """The `serving_default` signature of the SavedModel in `directory`, frozen: float pixels to [B, D].

    Pixels of another size than the signature's are resized, where it has one.
    """

    def __init__(self, directory: str, **kwargs: Any):
        # Float32 whatever the policy: the SavedModel has dtypes of its own.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.directory = directory
        self._loaded = tf.saved_model.load(directory)
        self._signature = self._loaded.signatures["serving_default"]
        outputs = list(self._signature.structured_outputs.values())
        inputs = self._signature.structured_input_signature[1]
        if len(inputs) != 1 or len(outputs) != 1 or outputs[0].shape.rank != 2:
            raise ValueError(
                f"backbone must be a SavedModel that maps one input to one [B, D] output, got inputs {[*inputs]} and "
                f"outputs {[tuple(o.shape) for o in outputs]} in {directory}: export the bottleneck alone."
            )
        ((self._input_name, spec),) = inputs.items()
        if spec.shape.rank not in (4, None) or (spec.shape.rank and spec.shape[-1] not in (3, None)):
            raise ValueError(
                f"backbone must be a SavedModel of pixels [B, H, W, 3], got {tuple(spec.shape)} in {directory}: export it "
                f"with a signature that transposes."
            )
        self._size = tuple(spec.shape[1:3]) if spec.shape.rank else (None, None)
        self._dim = outputs[0].shape[-1]

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        if None not in self._size and tuple(pixels.shape[1:3]) != self._size:
            pixels = tf.image.resize(pixels, self._size, method="bilinear", antialias=True)
        (features,) = self._signature(**{self._input_name: pixels}).values()
        return tf.stop_gradient(tf.ensure_shape(features, (None, self._dim)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "directory": self.directory}


def features_of(backbone: keras.Model, pixels: tf.Tensor, training: bool | None) -> tf.Tensor:
    """float32 [B, D] of pixels as in `resize_for`; float features [B, D], computed before, come back as they are."""
    pixels = tf.convert_to_tensor(pixels)
    if pixels.shape.rank == 2 and pixels.dtype.is_floating:
        if pixels.shape[-1] != backbone.output_shape[-1]:
            raise ValueError(
                f"features must be the backbone's own [B, {backbone.output_shape[-1]}], got {tuple(pixels.shape)}: "
                f"give pixels [B, H, W, 3], or its features."
            )
        return tf.cast(pixels, tf.float32)
    return tf.cast(backbone(resize_for(backbone, pixels), training=training), tf.float32)


class BackboneFeatures(keras.layers.Layer):
    """What a backbone of both towers makes of pixels as in `features_of`, float32 [B, D]."""

    def __init__(self, backbone: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.backbone = backbone

    def call(self, pixels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return features_of(self.backbone, pixels, training)


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
