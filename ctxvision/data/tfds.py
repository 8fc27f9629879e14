"""Reads data sets of TensorFlow Datasets by name."""

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import tensorflow as tf

from ctxvision.data.images_csv import clean
from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Query, Split
from ctxvision.errors import InputError

_SPLITS = {
    "train": "train",
    "validation": "val",
    "val": "val",
    "test": "test",
    "web": "web",
    "pretrain": "pretrain",
}
_MAPPED = ("image", "label", "queries", "data_dir")


def read_tfds(name: str, label_column: str = "label") -> Manifest:
    """Reads a prepared data set of TensorFlow Datasets: `tfds:cifar100`, `tfds:cifar100:3.0.2`.

    Settings behind a question mark name the features: `tfds:NAME?image=picture&label=kind&queries=title`.

    - `image`: default, the only feature that is a picture. Encoded pictures are read as they are; uint8 arrays
      [H, W, 1 or 3] are encoded as PNG, without loss.
    - `label`: default, `label_column`. A class, a list of classes, or texts; a class below 0 means no label.
    - `queries`: a text or several; default, no queries.
    - `data_dir`: the folder of the prepared data; default, the folder of TensorFlow Datasets.

    Splits are `train`, `validation` (as `val`), `test`, `web` and `pretrain`; others are left out. If no picture of
    `test` has a label, `validation` becomes `test`.

    Args:
        name: the name of the data set, with optional settings.
        label_column: the feature that holds labels.

    Raises:
        InputError: tensorflow-datasets is not installed, the data set is unknown or not prepared (nothing is
            downloaded), or a feature does not exist.
    """
    name, _, mapped = name.partition("?")
    given = dict(parse_qsl(mapped))
    unknown = sorted(given.keys() - set(_MAPPED))
    if unknown:
        raise InputError(
            f"tfds: must have settings of {', '.join(_MAPPED)}, got {unknown[0]!r}: use one of these."
        )
    tfds = _tfds()
    builder = _prepared(tfds, name, given.get("data_dir"))
    features = builder.info.features
    image = given.get("image") or _only_picture(tfds, name, features)
    label, queries = given.get("label", label_column), given.get("queries")
    for setting, feature in (("image", image), ("label", label), ("queries", queries)):
        if feature is not None and feature not in features:
            raise InputError(
                f"{setting} must be a feature of tfds:{name}, got {feature!r}: name one of "
                f"{', '.join(sorted(features))}."
            )
    splits = {}
    for split in builder.info.splits:
        if split in _SPLITS:
            ours = _SPLITS[split]
            splits[ours] = _read(tfds, builder, split, ours, image, label, queries)
    if "test" in splits and not any(splits["test"].labels):
        del splits["test"]
    if "test" not in splits and "val" in splits:
        splits["test"] = _renamed(splits.pop("val"), "test")
    if not splits:
        raise InputError(
            f"tfds:{name} must have a split of {', '.join(_SPLITS)}, got {', '.join(sorted(builder.info.splits))}: "
            "write its pictures as TFRecords or images.csv."
        )
    return Manifest(str(builder.data_dir), label_column, splits, {}, f"tfds:{name}")


def _read(
    tfds: Any, builder: Any, split: str, name: str, image: str, label: str, queries: str | None
) -> Split:
    """Reads rows in the order of the files; pictures are read again when needed."""
    features = builder.info.features
    found = Split(name, [], [], [])
    wanted = {feature: True for feature in (label, queries) if feature}
    for row, example in enumerate(_examples(tfds, builder, split, wanted)):
        found.paths.append(f"{builder.data_dir}/{split}#{row}")
        found.labels.append(tuple(dict.fromkeys(_texts(features[label], example[label]))))
        told = _texts(features[queries], example[queries]) if queries else []
        found.queries.append(tuple(Query(text.lower(), "en") for text in dict.fromkeys(told) if text))
    return Split(name, found.paths, found.labels, found.queries, None, _stored(tfds, builder, split, image))


def _stored(tfds: Any, builder: Any, split: str, image: str) -> Any:
    def read(rows: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
        if not len(rows):
            return
        asked, first = set(rows.tolist()), int(rows[0])
        part = tfds.core.ReadInstruction(split, from_=first, to=int(rows[-1]) + 1, unit="abs")
        for row, example in enumerate(_examples(tfds, builder, part, {image: True}), first):
            if row in asked:
                yield row, _encoded(example[image])

    return read


def _examples(tfds: Any, builder: Any, split: Any, wanted: Mapping[str, bool]) -> Iterator[dict[str, Any]]:
    """Iterates in a fixed order, without decoding pictures."""
    features = builder.info.features
    encoded = {
        name: tfds.decode.SkipDecoding() for name in wanted if isinstance(features[name], tfds.features.Image)
    }
    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    decoders = tfds.decode.PartialDecoding(dict(wanted), decoders=encoded)
    examples = builder.as_dataset(split=split, shuffle_files=False, read_config=reading, decoders=decoders)
    return iter(tfds.as_numpy(examples))


def _encoded(picture: Any) -> bytes:
    if isinstance(picture, bytes):
        return picture
    return tf.io.encode_png(tf.constant(picture, tf.uint8)).numpy()


def _texts(feature: Any, value: Any) -> list[str]:
    """Converts a class, a list of classes, or texts to cleaned texts."""
    inner = getattr(feature, "feature", feature)
    values = np.asarray(value).ravel().tolist()
    if hasattr(inner, "int2str"):
        return [clean(inner.int2str(number).replace("_", " ")) for number in values if number >= 0]
    texts = [one.decode() if isinstance(one, bytes) else str(one) for one in values]
    return [clean(text) for text in texts if clean(text)]


def _only_picture(tfds: Any, name: str, features: Mapping[str, Any]) -> str:
    found = [key for key, feature in features.items() if _is_picture(tfds, feature)]
    if len(found) != 1:
        raise InputError(
            f"tfds:{name} must have one feature that is a picture, got {', '.join(sorted(found)) or 'none'} of "
            f"{', '.join(sorted(features))}: name the feature, tfds:{name}?image=NAME."
        )
    return found[0]


def _is_picture(tfds: Any, feature: Any) -> bool:
    if isinstance(feature, tfds.features.Image):
        return True
    shape: Any = getattr(feature, "shape", ())
    plain = type(feature) is tfds.features.Tensor and feature.np_dtype == np.uint8
    return plain and len(shape) == 3 and shape[-1] in (1, 3)


def _renamed(split: Split, name: str) -> Split:
    return Split(name, split.paths, split.labels, split.queries, split.absent, split.stored)


def _prepared(tfds: Any, name: str, data_dir: str | None) -> Any:
    place = os.path.expanduser(data_dir) if data_dir else None
    try:
        builder = tfds.builder(name, data_dir=place, try_gcs=False)
    except Exception as error:  # the type depends on what is wrong with the name
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"tfds: must name a data set of TensorFlow Datasets, got {name!r} ({reason}): check the name."
        ) from None
    if not builder.is_prepared():
        raise InputError(
            f"tfds:{name} must be prepared, got no prepared data in {builder.data_dir}: run `tfds build {name}` first, "
            "which downloads it."
        )
    return builder


def _tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError:
        raise InputError(
            "tfds: needs tensorflow-datasets, which is not installed: pip install 'ctxvision[tfds]'."
        ) from None
    return tensorflow_datasets
