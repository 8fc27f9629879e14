"""Pre-trained weights for networks given by name."""

import glob
import os
import re
from collections.abc import Callable

import tf_keras as keras

IMAGENET = "imagenet"  # the value of `weights` that stands for the published weights

# Licences of the published weights, from the Keras documentation.
_LICENCES = {
    "resnetrs": "Apache-2.0",
    "resnet": "MIT",
    "vgg": "CC BY 4.0",
    "inception": "Apache-2.0",
    "xception": "MIT",
    "mobilenet": "Apache-2.0",
    "efficientnet": "Apache-2.0",
    "densenet": "BSD-3-Clause",
    "nasnet": "Apache-2.0",
}


def plain_name(name: str) -> str:
    """Returns a network's name in lower case, without underscores and hyphens."""
    return name.lower().replace("_", "").replace("-", "")


def licence_of(name: str) -> str:
    """Returns the licence of the ImageNet weights of a `tf_keras.applications` network; "" if it is unknown."""
    return next((licence for start, licence in _LICENCES.items() if plain_name(name).startswith(start)), "")


def imagenet_weights(name: str, application: Callable[..., keras.Model]) -> keras.Model:
    """Calls `application(weights="imagenet")`; Keras takes the weights from its cache, or downloads them.

    Raises:
        ValueError: the weights can be neither found nor downloaded, or the file is damaged.
    """
    try:
        return application(weights="imagenet")
    except Exception as error:  # Keras raises a plain Exception if a download fails
        told = re.search(r"URL fetch failure on (\S+): \S+ -- (.*)", str(error))
        if told is None and not isinstance(error, OSError) and "corrupted file" not in str(error):
            raise
        file, reason = (os.path.basename(told[1]), told[2]) if told else (_newest(), str(error))
        raise ValueError(
            f"weights must be available, got 'imagenet' for {name!r} and no good file {file} in {_cache()!r} "
            f"({reason}): put the file there, go online, or give weights the path of a file."
        ) from None


def load_pretrained(network: keras.Model, path: str | os.PathLike[str]) -> None:
    """Loads a network's weights from a file.

    Args:
        network: a network without classifier layers.
        path: a file of weights saved by Keras, `.h5` or `.weights.h5`, of the same network without classifier layers;
            or a whole model, `.keras`, that begins with the same layers.

    Raises:
        ValueError: the file does not exist or holds weights of another network.
    """
    name = os.fspath(path)
    try:
        if name.endswith(".keras"):
            _copy_in_order(keras.models.load_model(name, compile=False), network)
        else:
            network.load_weights(name)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ValueError(
            f"weights must be those of {network.name!r} without classifier layers, got {name!r} "
            f"({_first_sentence(error)}): give a file that was saved from the same network."
        ) from None


def _copy_in_order(source: keras.Model, network: keras.Model) -> None:
    """Copies weights layer by layer in order, because Keras numbers layer names differently in each process."""
    given, wanted = _layers_with_weights(source), _layers_with_weights(network)
    if len(given) < len(wanted):
        raise ValueError(f"it has {len(given)} layers with weights, not {len(wanted)}")
    for number, (layer, target) in enumerate(zip(given, wanted, strict=False), 1):
        shapes, want = ([tuple(weight.shape) for weight in one.weights] for one in (layer, target))
        if shapes != want:
            raise ValueError(f"its layer number {number} has weights of shapes {shapes}, not {want}")
    for layer, target in zip(given, wanted, strict=False):
        target.set_weights(layer.get_weights())


def _layers_with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    return [
        layer for layer in model._flatten_layers() if layer.weights and not isinstance(layer, keras.Model)
    ]


def _first_sentence(error: Exception) -> str:
    return re.split(r"\.\s|\n", str(error).strip("'\""))[0]


def _cache() -> str:
    """Returns the folder where Keras caches weights."""
    home = os.path.join(os.path.expanduser("~"), ".keras")
    return os.path.join(home if os.access(home, os.W_OK) else "/tmp/.keras", "models")


def _newest() -> str:
    files = glob.glob(os.path.join(_cache(), "*.h5"))
    return os.path.basename(max(files, key=os.path.getmtime)) if files else "of weights"
