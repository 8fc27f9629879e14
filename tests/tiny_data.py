"""Writes a data set of coloured shapes, small enough to train on in a test."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from PIL import Image

NO_SCANN = "the ops of scann do not load beside this TensorFlow"
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 220), "yellow": (220, 220, 40)}
_SETTINGS = {
    "image_size": 16,
    "phrase_steps": 150,
    "visual_steps": 60,
    "text_steps": 60,
    "head_steps": 60,
    "batch_size": 16,
    "text_batch_size": 16,
    "min_class_count": 2,
    "min_phrase_count": 2,
    # The data has eight phrases, and the default of ten would take all of them.
    "context_phrases": 3,
    "fractions": [0.5, 1.0],
    "seeds": 2,
}


def tiny_settings(data: Path) -> dict[str, Any]:
    """Returns settings for the data of `write_tiny_data`: few steps, and both encoders start from its small tower."""
    tower = str(data / "tower.keras")
    return {**_SETTINGS, "phrase_backbone": tower, "visual_backbone": tower}


def write_tiny_data(folder: Path, web: int = 96, labelled: int = 48, test: int = 24) -> Path:
    """Writes pictures of four colours.

    The queries of each colour are a phrase that names it, a phrase that does not, and a Spanish phrase. The coarse label
    is warm or cold.
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    things = {"red": "ripe tomato", "green": "fresh lawn", "blue": "deep sea", "yellow": "sweet lemon"}
    spanish = {"red": "rojo", "green": "verde", "blue": "azul", "yellow": "amarillo"}
    rows = []
    for split, number in (("web", web), ("train", labelled), ("test:easy", test), ("test:hard", test)):
        for i in range(number):
            colour = list(COLOURS)[i % 4]
            noise = 60 if split == "test:hard" else 25
            pixels = np.clip(np.array(COLOURS[colour]) + rng.normal(0, noise, (20, 20, 3)), 0, 255)
            name = f"images/{split.replace(':', '-')}-{i}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            queries = [f"{colour} square", things[colour], spanish[colour]] if split != "train" else []
            languages = ["en", "en", "es"] if queries else []
            label = "" if split == "web" else f"{colour} label"
            coarse = "" if split == "web" else "warm" if colour in ("red", "yellow") else "cold"
            rows.append([name, split, label, coarse, "|".join(queries), "|".join(languages)])
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        header = ["image", "split", "label", "coarse_label", "queries", "languages"]
        csv.writer(file).writerows([header, *rows])
    terms = {f"{colour} label": {"synset_terms": [colour]} for colour in COLOURS}
    (folder / "labels.json").write_text(json.dumps(terms), encoding="utf-8")
    _tower().save(folder / "tower.keras")
    return folder


def _tower() -> keras.Model:
    """Saves two convolutions as a tower, because tracing a ResNet would take most of a tiny training."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 64.0, offset=-2.0)(pixels)
    x = keras.layers.Conv2D(16, 5, 4, use_bias=False)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.95)(x))
    x = keras.layers.Conv2D(32, 3, 2, activation="relu")(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))


MASCOT = "our mascot"


def files_of(run):
    """Reads everything in the folder of a run's vocabulary."""
    folder = run.directory / "table"
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
