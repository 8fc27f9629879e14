"""Reads an export from disk, and its documentation in README.md."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

README = Path(__file__).parents[1] / "README.md"
TAGGER_HEADING = "## Signatures of a tagger"
SEVERAL = 3  # candidates of zero_shot, fields of about

Answer = dict[str, np.ndarray]
Tensors = dict[str, tuple[str, list[str]]]  # name -> dtype and dimensions, letters or numbers


class Miss(Exception):
    """A failed check, described in a sentence."""


class Artefact:
    """An export of a model.

    Attributes:
        directory: folder of the version.
        description: contents of `assets/ctxvision.json`.
        graph: the GraphDef.
        definitions: SignatureDefs by name.
        loaded: result of `tf.saved_model.load`; None before `load`.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.description = json.loads((directory / "assets/ctxvision.json").read_text(encoding="utf-8"))
        saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        self.graph = saved.meta_graphs[0].graph_def
        definitions = saved.meta_graphs[0].signature_def
        self.definitions = {
            name: definitions[name] for name in sorted(definitions) if not name.startswith("__")
        }
        self.loaded: Any = None

    @property
    def is_tagger(self) -> bool:
        """Whether the export is of a context alone, which knows no labels."""
        return "labels" not in self.description

    @property
    def labels(self) -> list[str]:
        return self.description["labels"]

    def load(self) -> None:
        self.loaded = tf.saved_model.load(str(self.directory))

    @property
    def with_text(self) -> bool:
        return "tensorflow_text" in self.description["needs"]

    @property
    def of_pictures(self) -> list[str]:
        """Names of the signatures that answer for each picture."""
        return [name for name, definition in self.definitions.items() if "valid" in definition.outputs]

    def inputs(self, signature: str, pictures: list[bytes]) -> dict[str, tf.Tensor]:
        """Makes all inputs of a signature for these pictures."""
        definition = self.definitions[signature]
        return {name: self._input(name, definition, pictures) for name in definition.inputs}

    def _input(self, name: str, definition: Any, pictures: list[bytes]) -> tf.Tensor:
        info = definition.inputs[name]
        if name == "image_bytes":
            return tf.constant(pictures, tf.string)
        if name == "pixels":
            return tf.cast(_decoded(pictures, self.description["image_size"]), info.dtype)
        if name == "texts":
            return tf.constant([f"a picture of {self.labels[0]}"] * len(pictures), tf.string)
        if name == "fields":
            return tf.constant(["labels", "signatures", "needs"][:SEVERAL])
        if name == "candidate_labels":
            return tf.constant((self.labels * SEVERAL)[:SEVERAL])
        if name == "candidate_embeddings":
            directions = tf.random.stateless_normal([SEVERAL, info.tensor_shape.dim[1].size], [0, 0])
            return tf.math.l2_normalize(directions, axis=1)
        if name in definition.defaults:
            return tf.constant(tf.make_ndarray(definition.defaults[name]), info.dtype)
        raise Miss(f"the input {name} is unknown to verify.py")

    def tensor_names(self, signature: str) -> dict[str, dict[str, str]]:
        """Maps names of a signature's inputs and outputs to the graph's tensors."""
        definition = self.definitions[signature]
        return {
            kind: {key: info.name for key, info in getattr(definition, kind).items()}
            for kind in ("inputs", "outputs")
        }

    def warmup_requests(self) -> list[tuple[str, dict[str, tf.Tensor]]]:
        """Reads the warm-up requests: signature and inputs, including defaults."""
        # Only messages; pip install tensorflow-serving-api.
        from tensorflow_serving.apis import prediction_log_pb2

        path = self.directory / "assets.extra/tf_serving_warmup_requests"
        requests = []
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            name = request.model_spec.signature_name
            given = {**self.definitions[name].defaults, **request.inputs}
            tensors = {key: tf.constant(tf.make_ndarray(value), value.dtype) for key, value in given.items()}
            requests.append((name, tensors))
        return requests

    def answer(self, signature: str, pictures: list[bytes]) -> Answer:
        inputs = self.inputs(signature, pictures)
        try:
            found = self.loaded.signatures[signature](**inputs)
        except tf.errors.OpError as error:
            raise Miss(f"{signature} of {len(pictures)} pictures fails: {sentence(error)}") from error
        return {name: value.numpy() for name, value in found.items()}

    def documented(self) -> dict[str, tuple[Tensors, Tensors, set[str]]]:
        """Parses README.md's table: inputs, outputs and names of optional inputs, by signature.

        A tagger has a table of its own. Brackets behind a tensor tell which exports have it, and where it is optional.
        """
        text = README.read_text(encoding="utf-8")
        classifier, _, rest = text.partition(f"\n{TAGGER_HEADING}\n")
        text = rest.partition("\n## ")[0] if self.is_tagger else classifier
        rows = re.findall(r"^\| `(\w+)`[^|]*\|([^|]*)\|([^|]*)\|$", text, re.M)
        return {name: (*self._tensors(inputs), self._tensors(outputs)[0]) for name, inputs, outputs in rows}

    def _tensors(self, cell: str) -> tuple[Tensors, set[str]]:
        """Lists the tensors of a cell that an export like this one has, and which of them are optional."""
        has = {"text": self.with_text, "thresholds": self.description.get("thresholds") is not None}
        tensors: Tensors = {}
        optional = set()
        for name, dtype, shape, remark in re.findall(r"`(\w+)` (\w+) \[([^\]]*)\](?: \(([^)]*)\))?", cell):
            only, may = re.search(r"^with (\w+)", remark), re.search(r"optional(?: with (\w+))?", remark)
            if only is None or has[only[1]]:
                tensors[name] = dtype, re.findall(r"\w+", shape)
                optional |= {name} if may and has.get(may[1], True) else set()
        return tensors, optional

    def known_sizes(self) -> dict[str, int]:
        """Sizes of the table's letters, as far as the labels determine them."""
        if self.is_tagger:
            return {}
        return {"L": len(self.labels), "n": min(5, len(self.labels)), "m": min(3, len(self.labels))}


def sentence(error: Exception) -> str:
    """Reduces an exception to one line; TensorFlow puts the message behind locations in its graph."""
    told = str(error).rpartition("<stack traces unavailable>")[2].strip().splitlines()
    return f"{type(error).__name__}: {told[0] if told else 'no reason'}"


def find_version(directory: Path) -> Path:
    if (directory / "saved_model.pb").is_file():
        return directory
    versions = [path.parent for path in directory.glob("*/saved_model.pb") if path.parent.name.isdigit()]
    if not versions:
        raise FileNotFoundError("no saved_model.pb in it or in a version in it")
    return max(versions, key=lambda path: int(path.name))


def drawn_pictures() -> list[bytes]:
    """Draws eight smooth patterns of different sizes, alternately as JPEG and PNG."""
    pictures = []
    for i in range(8):
        coarse = tf.random.stateless_uniform([4, 4, 3], [i, 0], 0, 255)
        pixels = tf.cast(tf.image.resize(coarse, [60 + 9 * i, 90 - 7 * i]), tf.uint8)
        encode = tf.io.encode_png if i % 2 else tf.io.encode_jpeg
        pictures.append(encode(pixels).numpy())
    return pictures


def _decoded(pictures: list[bytes], size: int) -> tf.Tensor:
    decoded = [tf.io.decode_image(picture, channels=3, expand_animations=False) for picture in pictures]
    return tf.reshape([tf.image.resize(pixels, [size, size]) for pixels in decoded], [-1, size, size, 3])
