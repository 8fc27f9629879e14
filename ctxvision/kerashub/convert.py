"""Converts a KerasHub preset to SavedModels that load with TensorFlow alone.

    python ctxvision/kerashub/convert.py PRESET --out DIR [--pixels 0..255|0..1|-1..1|imagenet|clip]

PRESET is a preset's name (`clip_vit_base_patch16`), a handle (`hf://`, `kaggle://`) or a local preset folder. An image
backbone becomes one picture tower, the SavedModel DIR; a two-tower preset (CLIP, SigLIP, MetaCLIP 2) becomes
DIR/picture and DIR/text. A `tower.json` beside each `saved_model.pb` holds the facts.

| tower | `serving_default` takes | and returns |
|---|---|---|
| picture | `pixels` float32 [B, S, S, 3] in 0..255 | `features` float32 [B, D], not normalised |
| text | `texts` string [B] | `vectors` float32 [B, D], not normalised |

The graph includes the preset's own scale and offset of pixels, and its tokenizer. A text tower loads after
`import tensorflow_text`. DIR is written completely or not at all. Bad input gives exit status 2 and one sentence on
standard error.

The program needs Keras 3, and `import ctxvision` binds Keras 2: run it in a separate process.
"""

import argparse
import difflib
import inspect
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

# The mean and the deviation, in 0..255, with which a backbone's pixels are normalised.
PIXELS: dict[str, tuple[Any, Any]] = {
    "0..255": (0.0, 1.0),
    "0..1": (0.0, 255.0),
    "-1..1": (127.5, 127.5),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.771, 116.746, 104.094), (68.500, 66.632, 70.323)),
}
IMAGE_SIZE = 224  # for a preset that names no size
TOLERANCE = 1e-4  # largest difference between a SavedModel and KerasHub, relative to the largest value
# Digits, accents, contractions, capitals, wide spaces, other scripts, an empty text, and a text longer than a tower
# reads.
TEXTS = ("a photo of a cat", "It's 50% off: CAFÉ\u3000№ 1980s", "кошка 猫", "", "word 12 " * 200)
# The words of CLIP's tokenizer.
CLIP_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


class RefusedError(Exception):
    """Raised if the input cannot be converted; the message is one sentence."""


class Tower(NamedTuple):
    """A tower that is to be saved."""

    call: Callable[[Any], dict[str, Any]]  # KerasHub's own code, for eager runs and tracing
    given: Any  # tf.TensorSpec of the input
    samples: Any  # a batch that checks the SavedModel
    tokenizer: Any  # None for pictures
    facts: dict[str, Any]  # for tower.json


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(description="Converts a KerasHub preset to SavedModels.")
    parser.add_argument("preset", metavar="PRESET", help="name, handle or folder of a preset")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    parser.add_argument("--pixels", choices=PIXELS, help="used instead of the preset's own pixel convention")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--pixels" in words[:-1]:  # argparse would read the value -1..1 as an option
        at = words.index("--pixels")
        words[at : at + 2] = ["=".join(words[at : at + 2])]
    given = parser.parse_args(words)
    try:
        convert(given.preset, given.out, given.pixels)
    except RefusedError as refusal:
        sentence = str(refusal)
    except Exception as error:
        if not isinstance(error, OSError) and not _no_space(error):
            raise
        sentence = f"--out must be a folder that can be written, got {str(given.out)!r} ({_reason(error)}): "
        sentence += "make room there and in the cache of presets." if _no_space(error) else "name another."
    else:
        return 0
    print(sentence, file=sys.stderr)
    return 2


def convert(preset: str, out: Path, pixels: str | None = None) -> None:
    """Writes the towers of `preset` to the new folder `out`."""
    if out.exists() or out.is_symlink():
        raise RefusedError(f"--out must be a new folder, got {str(out)!r}: delete it, or name another.")
    keras_hub = import_keras_hub(preset)
    backbone = load_backbone(preset, keras_hub)
    towers = {"picture": picture_tower(backbone, preset, pixels, keras_hub)}
    if _has_two_towers(type(backbone)):
        towers["text"] = text_tower(backbone, preset, keras_hub)
    facts = {"source": preset, "backbone": type(backbone).__name__, "license": license_of(preset)}
    with _new_folder(out) as folder, _quiet():
        for name, tower in towers.items():
            save_tower(tower, folder / name if len(towers) > 1 else folder, facts)


def import_keras_hub(preset: str) -> Any:
    """Imports KerasHub on Keras 3 and TensorFlow on the CPU, so that the check compares both on the same device."""
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
        import keras_hub
    except ImportError as error:
        raise RefusedError(
            f"converting {preset!r} needs keras-hub, got {_reason(error)!r}: run pip install 'ctxvision[convert]' "
            f"with Python 3.11 or newer."
        ) from error
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    return keras_hub


def load_backbone(preset: str, keras_hub: Any) -> Any:
    """Loads the backbone of a preset; refuses a preset that is no image model before its weights are downloaded."""
    from keras_hub.src.utils.preset_utils import get_preset_loader

    known = keras_hub.models.Backbone.presets
    local = preset not in known and os.path.isdir(preset)
    if preset not in known and not local and "://" not in preset:
        near = ", ".join(difflib.get_close_matches(preset, known, cutoff=0.5)) or "clip_vit_base_patch16"
        raise RefusedError(
            f"preset must be the name of a KerasHub preset, a handle or a preset folder, got {preset!r}: try {near}."
        )
    try:
        backbone_class = get_preset_loader(preset).check_backbone_class()
        if _has_two_towers(backbone_class) or _reads_images(backbone_class):
            return keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:
        if _no_space(error):
            raise
        rule, remedy = (
            "one that can be downloaded",
            "check its spelling and the network, or give a preset folder",
        )
        if local:
            rule, remedy = "a folder that KerasHub can load", "save it again with save_to_preset"
        raise RefusedError(f"preset must be {rule}, got {preset!r} ({_reason(error)}): {remedy}.") from error
    raise _no_image_model(preset, backbone_class)


def _has_two_towers(backbone_class: Any) -> bool:
    """Returns whether the model embeds pictures and texts in one space; VideoPrism has frames and embeds videos."""
    both = hasattr(backbone_class, "get_vision_embeddings") and hasattr(backbone_class, "get_text_embeddings")
    return both and "num_frames" not in inspect.signature(backbone_class.__init__).parameters


def _reads_images(backbone_class: Any) -> bool:
    parameters = set(inspect.signature(backbone_class.__init__).parameters)
    return "num_frames" not in parameters and bool(
        parameters & {"image_shape", "input_shape", "image_encoder"}
    )


def _no_image_model(preset: str, backbone_class: Any) -> RefusedError:
    return RefusedError(
        f"preset must be an image backbone or a two-tower model of pictures and texts, got {preset!r} of class "
        f"{backbone_class.__name__}: name one such as efficientnet_b0_ra_imagenet or clip_vit_base_patch16."
    )


def picture_tower(backbone: Any, preset: str, pixels: str | None, keras_hub: Any) -> Tower:
    """Returns the tower from pixels in 0..255 to a joint space, or to the pooled output of an image backbone."""
    import numpy as np
    import tensorflow as tf

    converter = _image_converter(preset, keras_hub)
    size = _image_size(backbone, preset, converter)
    scale = _pixel_scale(preset, pixels, converter)
    if _has_two_towers(type(backbone)):
        embed, pooling = backbone.get_vision_embeddings, "joint space"
    else:
        embed, pooling = _pooled(backbone, preset, size)

    def call(pixels: Any) -> dict[str, Any]:
        return {"features": tf.cast(embed(scale(pixels)), tf.float32)}

    given = tf.TensorSpec([None, size, size, 3], tf.float32, "pixels")
    contrast = np.array([255, 80]).reshape(2, 1, 1, 1)
    samples = (np.random.default_rng(0).random((2, size, size, 3)) * contrast).astype(np.float32)
    facts = {"kind": "picture", "pixels": "0..255", "image_size": size, "pooling": pooling}
    return Tower(call, given, tf.constant(samples), None, facts)


def _image_converter(preset: str, keras_hub: Any) -> Any:
    """Returns the preset's image converter, or None."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(preset)
    except FileNotFoundError:
        return None
    except Exception as error:
        if "Unable to find a subclass" in str(error):
            return None
        if _no_space(error):
            raise
        raise RefusedError(
            f"preset must have an image converter that KerasHub can load, got {preset!r} ({_reason(error)}): save it "
            f"there with save_to_preset, or delete it there and give --pixels."
        ) from error


def _image_size(backbone: Any, preset: str, converter: Any) -> int:
    inputs = backbone.input if isinstance(backbone.input, dict) else {"images": backbone.input}
    shapes = [tuple(one.shape[1:]) for one in inputs.values() if len(one.shape) == 4]
    if len(shapes) != 1 or shapes[0][2] != 3 or len(inputs) > 1 + _has_two_towers(type(backbone)):
        raise _no_image_model(preset, type(backbone))
    wanted = (converter.image_size if converter else None) or (IMAGE_SIZE, IMAGE_SIZE)
    height, width = (fixed or free for fixed, free in zip(shapes[0], wanted))
    if height != width:
        raise RefusedError(
            f"preset must be of square pictures, got {preset!r} of {height} x {width} pixels: name another preset."
        )
    return int(height)


def _pixel_scale(preset: str, pixels: str | None, converter: Any) -> Callable[[Any], Any]:
    """Returns the function from pixels in 0..255 to the backbone's pixels."""
    if pixels is not None:
        mean, deviation = PIXELS[pixels]
        return lambda given: (given - mean) / deviation
    if converter is None:
        raise RefusedError(
            f"preset must have an image converter, which says what its pixels are, got none in {preset!r}: add "
            f"--pixels {'|'.join(PIXELS)}."
        )
    converter.image_size = None  # pictures already have the tower's size
    return converter


def _pooled(backbone: Any, preset: str, size: int) -> tuple[Callable[[Any], Any], str]:
    """Returns a function from scaled pixels to [B, D], and the name of its pooling."""
    import tensorflow as tf

    output, level = backbone.output, None
    if isinstance(output, dict) and all(re.fullmatch(r"P\d+|stage\d+|stem", name) for name in output):
        level = max(output, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        output = output[level]
    rank = len(getattr(output, "shape", ()))
    if rank not in (2, 3, 4):
        raise _no_image_model(preset, type(backbone))
    name = next(iter(backbone.input)) if isinstance(backbone.input, dict) else None

    def features(pixels: Any) -> Any:
        outputs = backbone(pixels if name is None else {name: pixels}, training=False)
        return outputs if level is None else outputs[level]

    if rank == 2:
        return features, "none"
    if rank == 3 and output.shape[1] > _patches(backbone, size):
        return lambda pixels: features(pixels)[:, 0], "class token"
    pooling = "mean of tokens" if rank == 3 else "mean of feature map"
    axes = list(range(1, rank - 1))
    return lambda pixels: tf.reduce_mean(features(pixels), axes), f"{pooling} {level or ''}".strip()


def _patches(backbone: Any, size: int) -> float:
    """Returns the number of tokens that stand for patches; class tokens and similar ones come before them."""
    patch = getattr(backbone, "patch_size", None)
    height, width = patch if isinstance(patch, list | tuple) else (patch, patch)
    return (size // height) * (size // width) if height and width else float("inf")


def text_tower(backbone: Any, preset: str, keras_hub: Any) -> Tower:
    """Returns the tower from texts to the joint space of a two-tower model, with the tokenizer of its preset."""
    import tensorflow as tf

    try:
        preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(preset, image_converter=None)
        tokenizer = preprocessor.tokenizer
        tokenizer.vocabulary_size()
    except Exception as error:
        if _no_space(error):
            raise
        raise RefusedError(
            f"preset must hold the tokenizer of its text tower, got {preset!r} ({_reason(error)}): save it there with "
            f"tokenizer.save_to_preset."
        ) from error
    length = min(preprocessor.sequence_length, backbone.text_encoder.max_sequence_length)

    def call(texts: Any) -> dict[str, Any]:
        packed = preprocessor({"prompts": texts, "images": None}, sequence_length=length)
        return {"vectors": tf.cast(backbone.get_text_embeddings(packed["token_ids"]), tf.float32)}

    given = tf.TensorSpec([None], tf.string, "texts")
    facts = {
        "kind": "text",
        "tokenizer": type(tokenizer).__name__,
        "tokens": length,
        "pooling": "joint space",
    }
    return Tower(call, given, tf.constant(TEXTS), tokenizer, facts)


def license_of(preset: str) -> str:
    """Returns the licence in the preset's metadata or at the head of its card; "" if neither names one."""
    from keras_hub.src.utils.preset_utils import get_file

    patterns = {
        "metadata.json": r'"license"\s*:\s*"([^"]+)"',
        "README.md": r"\A---\n(?:.*\n)*?license:\s*(\S+)",
    }
    for file, pattern in patterns.items():
        with suppress(Exception):  # hubs raise errors of many types for a missing file
            named = re.search(pattern, Path(get_file(preset, file)).read_text(encoding="utf-8"))
            if named:
                return named[1]
    return ""


def save_tower(tower: Tower, folder: Path, facts: dict[str, Any]) -> None:
    """Writes the SavedModel of a tower and its `tower.json` into `folder`, which is created if it is missing.

    `tower.json` holds the tower's facts, `facts`, the dimension and versions.

    Raises:
        RefusedError: an answer of the SavedModel differs from KerasHub's by more than `TOLERANCE`, or the tokenizer
            does not run in a graph.
    """
    import keras
    import keras_hub
    import tensorflow as tf

    ((name, features),) = _run(tower, lambda: tower.call(tower.samples)).items()
    with _better_graphs(tower.tokenizer):
        traced = _run(tower, tf.function(tower.call, [tower.given], autograph=False).get_concrete_function)
        module = tf.Module()
        module.weights = list(traced.variables)
        parts = vars(tower.tokenizer).values() if tower.tokenizer else ()
        module.tables = [part for part in parts if isinstance(part, tf.lookup.StaticHashTable | tf.Module)]
        tf.saved_model.save(module, str(folder), signatures={"serving_default": traced})
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answer = _run(tower, lambda: loaded(tower.samples)[name])
    error = float(tf.reduce_max(tf.abs(answer - features)) / (tf.reduce_max(tf.abs(features)) + 1e-12))
    if not error <= TOLERANCE:
        raise RefusedError(
            f"a {tower.facts['kind']} tower must answer as KerasHub does to {TOLERANCE:g}, got a difference of "
            f"{error:.2g} for {tower.facts.get('tokenizer', facts['backbone'])}: convert another preset."
        )
    versions = {"keras": keras.__version__, "keras_hub": keras_hub.__version__, "tensorflow": tf.__version__}
    written = {"format": 1, **tower.facts, "dim": int(features.shape[-1]), **facts, "versions": versions}
    text = json.dumps(written, indent=1, ensure_ascii=False)
    (folder / "tower.json").write_text(text + "\n", encoding="utf-8")


def _run(tower: Tower, step: Callable[[], Any]) -> Any:
    """Runs `step`; an error of a text tower becomes a RefusedError about its tokenizer."""
    try:
        return step()
    except Exception as error:
        if tower.tokenizer is None:
            raise
        raise RefusedError(
            f"a text tower must have a tokenizer that runs in a TensorFlow graph, got {tower.facts['tokenizer']} "
            f"({_reason(error)}): convert another preset."
        ) from error


@contextmanager
def _better_graphs(tokenizer: Any) -> Iterator[None]:
    """Patches what Keras and KerasHub trace, so that graphs are fast and give the answers of eager code.

    Grouped convolutions, such as MobileNet's, become plain ones: Keras makes XLA clusters of them on CPUs, which take
    30 times as long. CLIP's tokenizer splits texts as outside of graphs: KerasHub's graph takes "13" for one word and
    lowers only A..Z, which gives other tokens than CLIP was trained with. The tokenizer's cache of words stays out of
    the graph.
    """
    from keras.src.backend.tensorflow import nn
    from keras_hub.src.models.clip import clip_tokenizer

    with mock.patch.object(nn, "conv", _convolution(nn.conv, nn.depthwise_conv)):
        if not isinstance(tokenizer, clip_tokenizer.CLIPTokenizer):
            yield
            return
        split = mock.patch.object(clip_tokenizer, "split_strings_for_bpe", _clip_words)
        with split, mock.patch.object(tokenizer, "cache", _NoCache()):
            yield


def _convolution(plain: Callable[..., Any], depthwise: Callable[..., Any]) -> Callable[..., Any]:
    """Returns Keras' `conv` without XLA clusters for grouped convolutions of pictures."""
    import tensorflow as tf

    def conv(inputs: Any, kernel: Any, strides: Any = 1, *others: Any, **named: Any) -> Any:
        kernel = tf.convert_to_tensor(kernel)
        channels, inside = inputs.shape[-1], kernel.shape[-2]
        strides = strides if isinstance(strides, int) else tuple(strides)
        if len(kernel.shape) != 4 or channels == inside:
            return plain(inputs, kernel, strides, *others, **named)
        if inside == 1 and (isinstance(strides, int) or len(set(strides)) == 1):
            kernel = tf.reshape(kernel, [*kernel.shape[:2], channels, -1])
            return depthwise(inputs, kernel, strides, *others, **named)
        parts = zip(tf.split(inputs, channels // inside, -1), tf.split(kernel, channels // inside, -1))
        return tf.concat([plain(*part, strides, *others, **named) for part in parts], -1)

    return conv


def _clip_words(texts: Any, _: Any = None) -> Any:
    """Splits texts into the words that CLIP was trained with and the spaces between, ragged string [B, words]."""
    import tensorflow as tf
    import tensorflow_text as tf_text

    texts = tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFC"), r"[\s\v\x{85}\p{Z}]+", " ")
    return tf_text.regex_split(tf.strings.lower(texts, encoding="utf-8"), CLIP_WORD, CLIP_WORD)


class _NoCache:
    """Replaces the tokenizer's cache: it is empty until the words of a batch are inserted together."""

    tokens: Any = None

    def lookup(self, words: Any) -> Any:
        import tensorflow as tf

        tokens, self.tokens = self.tokens, None
        return tf.fill(tf.shape(words), "") if tokens is None else tokens

    def insert(self, _: Any, tokens: Any) -> None:
        self.tokens = tokens


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `out`, renamed to `out` at the end; an error leaves nothing behind."""
    out = out.absolute()
    parents = [parent for parent in out.parents if not parent.exists()]
    prefix = f".{out.name}.{os.getpid()}."
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent) as temporary:
            folder = Path(temporary, out.name)
            folder.mkdir()
            yield folder
            os.rename(folder, out)
    except BaseException:
        for left in out.parent.glob(f"{prefix}*"):  # a stop during its creation
            shutil.rmtree(left, ignore_errors=True)
        for parent in parents:
            with suppress(OSError):  # another process uses the folder
                parent.rmdir()
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Discards the output of TensorFlow's C++ code on standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _no_space(error: Exception) -> bool:
    return "no space left" in str(error).lower()


def _reason(error: Exception) -> str:
    """Returns the error's message on one line, without the text that Keras and TensorFlow add."""
    message = re.sub(r"\x1b\[\d*m|\{\{.*?\}\}|\[Op:\w+\]", "", str(error)).split("Arguments received by")[0]
    message = re.sub(r"^Exception encountered when calling [^\n]*\n", "", message)
    return " ".join(message.split())[:300] or type(error).__name__


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # removes the temporary folder
    sys.exit(main())
