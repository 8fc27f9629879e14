"""The checks of verify.py; each returns a short result, or raises Miss."""

import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from _verify.artefact import SEVERAL, Answer, Artefact, Miss, Tensors, drawn_pictures

TOLERANCE = 1e-5
ANY = dict.fromkeys("BHWMCj", -1)  # letters of README.md whose size is unknown in an export
# Outputs that are ordered by labels or by phrases, with the axis of a row along which they are.
PLACES: dict[str, dict[str, int]] = {
    "labels": {
        **dict.fromkeys(("labels", "scores", "accepted", "phrase_shares"), 0),
        **dict.fromkeys(("visual_shares", "query_shares", "prior_scores"), 0),
    },
    "phrases": {"phrases": 0, "phrase_scores": 0, "phrase_ids": 0, "phrase_shares": 1},
}
PYTHON_ONLY = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}  # core ops that call Python


def ops(artefact: Artefact) -> str:
    functions = artefact.graph.library.function
    used = {node.op for node in artefact.graph.node} | {node.op for f in functions for node in f.node_def}
    # raw_ops lists the ops of a bare TensorFlow, regardless of other imports.
    foreign = {op for op in used if not hasattr(tf.raw_ops, op)}
    text = _known_to_text(foreign) if artefact.with_text else set()
    if any(op.startswith("Scann>") for op in foreign):
        raise Miss("needs ScaNN: not for the stock server; export with --retrieval ivf for it")
    if foreign - text or used & PYTHON_ONLY:
        raise Miss(f"{_names(foreign - text | used & PYTHON_ONLY)}: not in the stock server")
    if artefact.with_text and not text:
        raise Miss("ctxvision.json lists TF.Text in needs, but the graph has none of its ops")
    if any(f.attr["_XlaMustCompile"].b for f in functions if "_XlaMustCompile" in f.attr):
        raise Miss("a function requires XLA, which is off in the stock server")
    return f"{len(used)}, {len(text)} of TF.Text, all others TensorFlow core"


def _known_to_text(ops: set[str]) -> set[str]:
    """Selects ops that TF.Text registers, all of which the stock server links; some lack the prefix `TFText>`."""
    importlib.import_module("tensorflow_text")
    return {op for op in ops if op_def_registry.get(op) is not None}


def signatures(artefact: Artefact) -> str:
    documented, held = artefact.documented(), set(artefact.definitions)
    if held != set(artefact.description["signatures"]):
        raise Miss(
            f"the export has {_names(held)}, ctxvision.json lists {_names(artefact.description['signatures'])}"
        )
    if not held <= set(documented):
        raise Miss(f"README.md does not document {_names(held - set(documented))}")
    sizes = {**artefact.known_sizes(), **ANY}
    for name, definition in artefact.definitions.items():
        inputs, optional, outputs = documented[name]
        _expect_tensors(f"{name}: inputs", definition.inputs, inputs, sizes)
        _expect_tensors(f"{name}: outputs", definition.outputs, outputs, sizes)
        if set(definition.defaults) != optional:
            raise Miss(f"{name}: {_names(definition.defaults)} are optional, {_names(optional)} in README.md")
    return f"{_names(held)}, as in README.md"


def loads(artefact: Artefact) -> str:
    for library in set(artefact.description["needs"]) & {"scann", "tensorflow_text"}:
        importlib.import_module(library)  # registers its ops
    start = time.perf_counter()
    artefact.load()
    return f"in {time.perf_counter() - start:.1f} s"


def batch_sizes(artefact: Artefact, pictures: list[bytes]) -> str:
    documented = artefact.documented()
    for name in artefact.definitions:
        for batch in (1, 3, 0):
            answer = artefact.answer(name, (pictures * 3)[:batch])
            candidates = 2 * SEVERAL if artefact.with_text else SEVERAL  # by embeddings, and by words
            sizes = {**artefact.known_sizes(), "B": batch, "M": SEVERAL, "C": candidates}
            for key, (_, dimensions) in documented[name][2].items():
                if not _agrees(list(answer[key].shape), dimensions, sizes):
                    raise Miss(f"{name} of {batch} pictures: {key} is {list(answer[key].shape)}")
            if name in artefact.of_pictures and not answer["valid"].all():
                raise Miss(f"{name} of {batch} pictures: valid is {answer['valid'].tolist()}")
    return "1, 3 and 0 pictures, every signature"


def broken_picture(artefact: Artefact, pictures: list[bytes]) -> str:
    names = [name for name, definition in artefact.definitions.items() if "image_bytes" in definition.inputs]
    whole = drawn_pictures()[0]
    for name in names:
        right = artefact.answer(name, [pictures[0], pictures[-1]])
        for broken in (b"", b"no picture", whole[: len(whole) // 2]):
            answer = artefact.answer(name, [pictures[0], broken, pictures[-1]])
            _expect_same(f"{name} beside a broken picture", _rows(answer, [0, 2]), right)
            for key, value in _rows(answer, [1]).items():
                empty = b"" if value.dtype == object else -1 if key == "phrase_ids" else 0
                if (value != empty).any():
                    raise Miss(f"{name} of a broken picture: {key} is {value.tolist()}")
    return f"invalid and empty, the other answers unchanged: {_names(names)}"


def alone_and_together(artefact: Artefact, pictures: list[bytes]) -> str:
    batch = (pictures * 8)[:8]
    for name in artefact.of_pictures:
        together = artefact.answer(name, batch)
        for row, picture in enumerate(batch):
            _expect_same(f"{name}, row {row} of 8", _rows(together, [row]), artefact.answer(name, [picture]))
    return f"equal to {TOLERANCE:g}, 8 pictures, every signature"


def probabilities(artefact: Artefact, pictures: list[bytes]) -> str:
    found = artefact.answer("serving_default", pictures)["probabilities"]
    if not ((found >= 0) & (found <= 1)).all():
        raise Miss(f"probabilities must be in 0 .. 1, got {found.min():g} .. {found.max():g}")
    if artefact.description["thresholds"] is not None:
        return "in 0 .. 1, several labels per picture"
    off = np.abs(found.sum(axis=1) - 1).max()
    if off > 1e-4:
        raise Miss(f"probabilities must sum to 1, got sums that are off by {off:g}")
    return "in 0 .. 1, sum to 1"


def labels(artefact: Artefact, pictures: list[bytes]) -> str:
    answer = artefact.answer("serving_default", pictures)
    best = np.argsort(-answer["probabilities"], axis=1, kind="stable")[:, : answer["scores"].shape[1]]
    if not np.array_equal(np.take_along_axis(answer["probabilities"], best, axis=1), answer["scores"]):
        raise Miss("scores are not the highest probabilities in descending order")
    names = np.array([label.encode() for label in artefact.labels], object)
    if not np.array_equal(names[best], answer["labels"]):
        raise Miss("labels are not those of ctxvision.json with the highest probabilities")
    return f"{best.shape[1]} of {len(names)}, sorted, as in ctxvision.json"


def about(artefact: Artefact) -> str:
    fields = [*artefact.description, "nothing of that name"]
    values = artefact.loaded.signatures["about"](fields=tf.constant(fields))["values"].numpy()
    told = {field: json.loads(value) for field, value in zip(fields, values) if value}
    wrong = [field for field in fields if told.get(field) != artefact.description.get(field)]
    if wrong:
        raise Miss(f"about answers {_names(wrong)} differently from ctxvision.json")
    if artefact.is_tagger:
        return f"{_names(told)}, as in ctxvision.json"
    listed = (artefact.directory / "assets/labels.txt").read_text(encoding="utf-8").splitlines()
    if listed != artefact.labels:
        raise Miss("labels.txt lists other labels than ctxvision.json")
    return f"{_names(told)}, as in ctxvision.json"


def warmup(artefact: Artefact) -> str:
    asked: dict[str, set[int]] = {name: set() for name in artefact.definitions}
    for name, tensors in artefact.warmup_requests():
        answer = artefact.loaded.signatures[name](**tensors)
        if name in artefact.of_pictures and not answer["valid"].numpy().all():
            raise Miss(f"{name}: valid is {answer['valid'].numpy().tolist()}")
        asked[name].add(next(iter(answer.values())).shape[0])
    if len(set(map(frozenset, asked.values()))) > 1 or 1 not in asked["serving_default"]:
        raise Miss(
            f"warm-up must cover every signature with batch 1 and the same larger batches, got {asked}"
        )
    return f"every signature, batches of {', '.join(map(str, sorted(asked['serving_default'])))}"


def c_library(artefact: Artefact, pictures: list[bytes]) -> str:
    """Loads and runs the export with TensorFlow's C library, the base of TensorFlow Serving, by session.py."""
    whole = drawn_pictures()[0]
    batch = [pictures[0], b"no picture", whole[: len(whole) // 2], pictures[-1]]
    requests = [
        (name, artefact.inputs(name, pictures if "pixels" in definition.inputs else batch))
        for name, definition in artefact.definitions.items()
    ]
    requests += artefact.warmup_requests()
    plan = {
        "directory": str(artefact.directory),
        "libraries": _op_libraries(artefact.description["needs"]),
        "requests": [artefact.tensor_names(name) for name, _ in requests],
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{name}" for name in ("plan.json", "given.npz", "out.npz")]
        Path(paths[0]).write_text(json.dumps(plan), encoding="utf-8")
        np.savez(paths[1], **{
            f"{number}/{key}": value.numpy()
            for number, (_, inputs) in enumerate(requests)
            for key, value in inputs.items()
        })  # fmt: skip
        program = str(Path(__file__).with_name("session.py"))
        done = subprocess.run([sys.executable, program, *paths], capture_output=True, text=True)
        if done.returncode:
            told = re.findall(r"^\w*Error: (.*)", done.stderr, re.MULTILINE)
            raise Miss(f"session.py failed: {told[0] if told else f'exit status {done.returncode}'}")
        found = dict(np.load(paths[2], allow_pickle=True))
    for number, (name, inputs) in enumerate(requests):
        answer = {key: found[f"{number}/{key}"] for key in artefact.definitions[name].outputs}
        expected = {key: value.numpy() for key, value in artefact.loaded.signatures[name](**inputs).items()}
        _expect_same(f"{name} by the C library", answer, expected)
    return f"loads, and {len(requests)} answers equal Python's to {TOLERANCE:g}, every signature"


def _op_libraries(modules: list[str]) -> list[str]:
    """Lists the op library files of these packages."""
    folders = [Path(importlib.import_module(name).__file__ or "").parent for name in modules]
    return [str(path) for folder in folders for path in sorted(folder.rglob("*ops*/**/_*.so"))]


def parity(artefact: Artefact, run: str, pictures: list[bytes]) -> str:
    """Compares with the run's own model, by parity.py in a process that may import ctxvision."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = f"{folder}/given.npz", f"{folder}/out.npz"
        np.savez(
            given,
            **{
                f"{name}/{key}": value.numpy()
                for name in artefact.of_pictures
                for key, value in artefact.inputs(name, pictures).items()
            },
        )
        program = str(Path(__file__).with_name("parity.py"))
        description = str(artefact.directory / "assets/ctxvision.json")
        command = [sys.executable, program, run, description, given, out]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Miss(f"parity.py failed: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
        expected = dict(np.load(out, allow_pickle=True))
    for name in artefact.of_pictures:
        wanted = {
            key.partition("/")[2]: value for key, value in expected.items() if key.startswith(f"{name}/")
        }
        _expect_same(name, artefact.answer(name, pictures), wanted)
    return f"with the model of {run} to {TOLERANCE:g}, {len(pictures)} pictures, every signature"


def _expect_tensors(what: str, held, documented: Tensors, sizes: dict[str, int]) -> None:
    """Checks names, dtypes and static shapes."""
    if set(held) != set(documented):
        raise Miss(f"{what} are {_names(held)}, {_names(documented)} in README.md")
    for name, (dtype, dimensions) in documented.items():
        got, shape = (
            tf.dtypes.as_dtype(held[name].dtype).name,
            [d.size for d in held[name].tensor_shape.dim],
        )
        if got != dtype or not _agrees(shape, dimensions, sizes):
            raise Miss(f"{what}: {name} is {got} {shape}, {dtype} [{', '.join(dimensions)}] in README.md")


def _agrees(shape: list[int], dimensions: list[str], sizes: dict[str, int]) -> bool:
    """Compares a shape with the documented one; `sizes` stores the size of each new letter."""
    return len(shape) == len(dimensions) and all(
        size == (int(letter) if letter.isdigit() else sizes.setdefault(letter, size))
        for size, letter in zip(shape, dimensions)
    )


def _expect_same(what: str, answer: Answer, expected: Answer) -> None:
    if set(answer) != set(expected):
        raise Miss(f"{what}: outputs are {_names(answer)}, not {_names(expected)}")
    expected = _aligned(expected, answer)
    for key, value in answer.items():
        if value.shape != expected[key].shape:
            raise Miss(f"{what}: {key} is {list(value.shape)}, not {list(expected[key].shape)}")
        if value.dtype.kind != "f":
            if not np.array_equal(value, expected[key]):
                raise Miss(f"{what}: {key} differ")
        elif value.size and not np.abs(value - expected[key]).max() <= TOLERANCE:
            raise Miss(f"{what}: {key} differ by {np.abs(value - expected[key]).max():g}")


def _aligned(expected: Answer, answer: Answer) -> Answer:
    """Reorders `expected` like `answer`, because rounding orders tied scores; scores are still compared."""
    expected = {key: value.copy() for key, value in expected.items()}
    for names, axes in PLACES.items():
        for row in range(len(answer.get(names, ()))):
            wanted, got = expected[names][row], answer[names][row]
            if sorted(wanted) != sorted(got):
                continue
            order = np.argsort(wanted, kind="stable")[np.argsort(np.argsort(got, kind="stable"))]
            for key in set(axes) & set(expected):
                expected[key][row] = np.take(expected[key][row], order, axes[key])
    return expected


def _rows(answer: Answer, rows: list[int]) -> Answer:
    return {key: value[rows] for key, value in answer.items()}


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
