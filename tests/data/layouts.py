"""Small data sets of coloured squares, each in the layout of a released data set."""

import csv
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tiny_data import COLOURS

# Maps colour to synset and terms; two synsets begin with the same term, like ImageNet's two cranes.
SYNSETS = {
    "red": ("n00000001", "crane, red crane"),
    "green": ("n00000002", "crane, green crane"),
    "blue": ("n00000003", "blue jay, jaybird"),
    "yellow": ("n00000004", "lemon, citrus limon"),
}
LABELS = {"red": "crane (n00000001)", "green": "crane (n00000002)", "blue": "blue jay", "yellow": "lemon"}
CLASSES = {"red": "/m/01", "green": "/m/02", "blue": "/m/03", "yellow": "/m/04"}


def picture(colour: str, number: int, kind: str = "JPEG") -> bytes:
    """Encodes a square; the same colour and number give the same picture."""
    rng = np.random.default_rng([list(COLOURS).index(colour), number])
    pixels = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_image_folder(root: Path, train: int = 8, test: int = 3) -> str:
    for split, start, number in (("train", 0, train), ("validation", 50, 2), ("test-new", 90, test)):
        for colour in COLOURS:
            for i in range(start, start + number):
                write(root / split / f"{colour}_square" / f"{i}.jpg", picture(colour, i))
    write(root / "README.txt", "no picture")
    return f"folder:{root}"


def write_imagenet(root: Path, train: int = 8, test: int = 3) -> str:
    """Writes Kaggle's layout: val is flat, with its labels in a csv file."""
    pictures = root / "ILSVRC" / "Data" / "CLS-LOC"
    solution = ["ImageId,PredictionString"]
    for number, (colour, (synset, _)) in enumerate(SYNSETS.items()):
        for i in range(train):
            write(pictures / "train" / synset / f"{synset}_{i}.JPEG", picture(colour, i))
        for i in range(test):
            name = f"ILSVRC2012_val_{number * test + i:08d}"
            write(pictures / "val" / f"{name}.JPEG", picture(colour, 100 + i))
            solution.append(f"{name},{synset} 1 2 20 19 {synset} 0 0 3 3 ")
    write(pictures / "test" / "ILSVRC2012_test_00000001.JPEG", picture("red", 999))
    write(root / "LOC_val_solution.csv", "\n".join(solution) + "\n")
    write(root / "LOC_synset_mapping.txt", "".join(f"{s} {terms}\n" for s, terms in SYNSETS.values()))
    return f"imagenet:{root}"


def write_webvision(root: Path, train: int = 6, test: int = 3) -> str:
    """Writes a query of each engine per synset; query numbers start at 1, label numbers at 0."""
    info = root / "info"
    write(info / "synsets.txt", "".join(f"{s} {terms}\n" for s, terms in SYNSETS.values()))
    queries, synsets = [], []
    for label, colour in enumerate(COLOURS):
        queries.append(f"{label + 1} {colour} bird photo\n")
        synsets.append(f"{label + 1} {label + 1}\n")
    write(info / "queries_synsets_map.txt", "".join(synsets))
    for place, engine in enumerate(("google", "flickr")):
        write(info / f"queries_{engine}.txt", "".join(queries))
        lines = []
        for label, colour in enumerate(COLOURS):
            for i in range(train):
                name = f"{engine}/q{label + 1:04d}/{engine[0]}{i}_abc.jpg"
                write(root / name, picture(colour, 10 * place + i))
                lines.append(f"{name} {label}\n")
        write(info / f"train_filelist_{engine}.txt", "".join(lines))
    lines = []
    for label, colour in enumerate(COLOURS):
        for i in range(test):
            name = f"val{label * test + i + 1:06d}.jpg"
            write(root / "val_images_256" / name, picture(colour, 100 + i))
            lines.append(f"{name} {label}\n")
    write(info / "val_filelist.txt", "".join(lines))
    write(info / "test_filelist.txt", "test000001.jpg\n")
    return f"webvision:{root}"


def write_open_images(root: Path, version: int = 7, train: int = 12, test: int = 4) -> str:
    """Each picture shows one of four colours, verified as present; one other colour is verified as absent."""
    prefix = {4: "", 5: "", 6: "oidv6-", 7: "oidv7-"}[version]
    names = {"/m/00": "Warm colour", **{CLASSES[colour]: colour.capitalize() for colour in COLOURS}}
    header = "LabelName,DisplayName\n" if version >= 6 else ""
    write(root / f"{prefix}class-descriptions.csv", header + "".join(f"{k},{v}\n" for k, v in names.items()))
    warm = {"LabelName": "/m/00", "Subcategory": [{"LabelName": CLASSES[c]} for c in ("red", "yellow")]}
    cold = [{"LabelName": CLASSES[c]} for c in ("green", "blue")]
    write(
        root / "bbox_labels_600_hierarchy.json",
        json.dumps({"LabelName": "/m/0bl9f", "Subcategory": [warm, *cold]}),
    )
    validation = "val" if version == 7 else "validation"
    later = "oidv7-" if version == 7 else ""  # validation and test of v6 are named as in v5
    for subset, folder, number, start, name in (
        ("train", "train", train, 0, prefix),
        (validation, "validation", test, 100, later),
        ("test", "test", test, 200, later),
    ):
        lines = ["ImageID,Source,LabelName,Confidence"]
        for place, colour in enumerate(COLOURS):
            other = list(COLOURS)[(place + 1) % 4]
            for i in range(start, start + number):
                image = f"{place:08x}{i:08x}"
                write(root / folder / f"{image}.jpg", picture(colour, i))
                lines.append(f"{image},verification,{CLASSES[colour]},1")
                lines.append(f"{image},verification,{CLASSES[other]},0")
        lines.append(f"ffffffffffffffff,verification,{CLASSES['red']},1")  # a missing picture
        write(root / f"{name}{subset}-annotations-human-imagelabels.csv", "\n".join(lines) + "\n")
    return f"open-images:{root}"


CAPTIONS = (
    "A {0} square on the wall.",
    "the {0} square, photo by <PERSON>",
    "{0} square for sale",
    "my {0} thing of a square",
)


def caption_rows(number: int = 8) -> list[dict]:
    return [
        {
            "jpg": picture(colour, 300 + i),
            "caption": CAPTIONS[i % len(CAPTIONS)].format(colour),
            "url": "http://a/b.jpg",
        }
        for i in range(number)
        for colour in COLOURS
    ]


def write_captions(root: Path, number: int = 8) -> str:
    """Writes the layout of img2dataset's output_format="parquet": captions with pictures, failures without."""
    import pyarrow
    import pyarrow.parquet

    root.mkdir(parents=True, exist_ok=True)
    rows = caption_rows(number)
    half = len(rows) // 2
    failed = {"jpg": None, "caption": "a red square that failed", "url": "http://a/c.jpg"}
    for shard, part in enumerate((rows[:half], [failed, *rows[half:]])):
        columns = {name: [row[name] for row in part] for name in rows[0]}
        columns["key"] = [f"{shard:05d}{i:04d}" for i in range(len(part))]
        columns["status"] = ["failed_to_download" if row is failed else "success" for row in part]
        pyarrow.parquet.write_table(pyarrow.table(columns), root / f"{shard:05d}.parquet", row_group_size=5)
    return f"captions:{root}"


def write_tfds(root: Path, train: int = 8, test: int = 3) -> str:
    """Writes a prepared data set of TensorFlow Datasets."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=[f"{colour}_square" for colour in COLOURS]),
            "title": tfds.features.Text(),
        }
    )

    def rows(start: int, number: int):
        for place, colour in enumerate(COLOURS):
            for i in range(start, start + number):
                pixels = np.asarray(Image.open(io.BytesIO(picture(colour, i, "PNG"))))
                yield f"{colour}{i}", {"image": pixels, "label": place, "title": f"A {colour} square"}

    # Not registered, because a process can register a name only once and several tests call this function.
    class TinyColours(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": rows(0, train), "validation": rows(50, 2), "test": rows(90, test)}

        def _generate_examples(self):
            raise NotImplementedError

    TinyColours(data_dir=root).download_and_prepare()
    return f"tfds:tiny_colours?data_dir={root}"


def write_manifest(root: Path, train: int = 8, test: int = 3) -> Path:
    """Writes an images.csv with labels and no queries."""
    rows = [["image", "split", "label", "queries"]]
    for split, start, number in (("train", 0, train), ("test", 90, test)):
        for colour in COLOURS:
            for i in range(start, start + number):
                name = f"{split}/{colour}{i}.jpg"
                write(root / name, picture(colour, i))
                rows.append([name, split, f"{colour} square", ""])
    with open(root / "images.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return root
