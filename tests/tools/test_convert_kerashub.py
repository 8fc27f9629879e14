"""Tests the converter of KerasHub presets on small presets with random weights, written by KerasHub."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import ctxvision as cv
from ctxvision.cli import main
from ctxvision.context.text_tower import TextTower
from ctxvision.errors import InputError
from ctxvision.kerashub import convert_preset, process, towers_of
from ctxvision.kerashub._convert.picture import PIXELS
from ctxvision.layers import backbone
from tests.fresh_process import run_fresh

PROGRAM = Path(process.__file__).with_name("convert.py")
PRESETS = Path(__file__).with_name("kerashub_presets.py")
TOOL = Path(__file__).parents[2] / "tools" / "convert_kerashub.py"
WORDS = ("red", "green", "blue", "yellow", "warm", "cold")
KERAS_3 = ("tensorflow", "keras_hub")
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="KerasHub needs Python 3.11")
FAMILIES = (
    "vit-of-patches",
    "dinov2",
    "dinov3",
    "resnet",
    "densenet",
    "mobilenet",
    "efficientnet",
    "cspnext",
    "hgnetv2",
)

# Loads SavedModels with only TensorFlow, and writes their answers.
LOAD = """
import sys

class Refused:
    def find_spec(name, path, target=None):
        if name.split(".")[0] in ("keras", "keras_hub", "tf_keras", "ctxvision"):
            raise ImportError(f"{name} is not needed")

sys.meta_path.insert(0, Refused)
import numpy as np
import tensorflow as tf

answers, out, *towers = sys.argv[1:]
told = {}
for folder, given in zip(towers[::2], towers[1::2]):
    if given == "texts":
        import tensorflow_text
    tower = tf.saved_model.load(folder).signatures["serving_default"]
    told |= {name: one.numpy() for name, one in tower(tf.constant(np.load(answers)[given])).items()}
np.savez(out, **told)
"""

# Runs the converter after the statement `change`.
CHANGED = """
import os, runpy, sys

{change}
sys.argv = {argv!r}
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def written(folder, names):
    done = run_fresh(PRESETS, [folder, *names], KERAS_3)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def presets(made_once):
    """Writes the presets of the everyday tests: ViT, CLIP and BERT."""

    def write(folder):
        written(folder, ("vit", "clip", "bert"))
        (folder / "vit" / "README.md").write_text(
            "---\nlibrary_name: keras-hub\nlicense: mit\n---\nA card.\n"
        )

    return made_once("kerashub-presets", write)


@pytest.fixture(scope="session")
def more_presets(made_once):
    return made_once("kerashub-families", lambda folder: written(folder, (*FAMILIES, "siglip", "metaclip2")))


def convert(*arguments):
    """Runs the converter by its path."""
    return run_fresh(PROGRAM, arguments, KERAS_3)


def convert_after(change, *arguments, imports=KERAS_3):
    argv = [str(PROGRAM), *map(str, arguments)]
    return run_fresh(CHANGED.format(change=change, argv=argv), imports=imports)


def converted(preset, folder):
    done = convert(preset, "--out", folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def vit(presets, made_once):
    return made_once("kerashub-vit", lambda folder: converted(presets / "vit", folder))


@pytest.fixture(scope="session")
def clip(presets, made_once):
    return made_once("kerashub-clip", lambda folder: converted(presets / "clip", folder))


def check_answers(preset, towers, tmp_path):
    """Checks that towers loaded by only TensorFlow give KerasHub's answers from before the preset was saved.

    `towers` maps the folder of each tower to the name of its input.
    """
    given = [one for tower in towers.items() for one in tower]
    done = run_fresh(LOAD, [preset / "answers.npz", tmp_path / "told.npz", *given])
    assert done.returncode == 0, done.stderr
    answers, told = np.load(preset / "answers.npz"), np.load(tmp_path / "told.npz")
    assert len(told) == len(towers)
    for name, actual in told.items():
        expected, scale = answers[name], np.abs(answers[name]).max()
        assert actual.shape == expected.shape and np.ptp(expected, axis=0).max() > 0.01 * scale
        assert np.abs(actual - expected).max() <= 1e-4 * scale


def refusal(done):
    """Returns the sentence on standard error."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_image_backbone_equals_kerashub_with_tensorflow_only(vit, presets, tmp_path):
    check_answers(presets / "vit", {vit: "pixels"}, tmp_path)
    facts = json.loads((vit / "tower.json").read_text())
    versions = facts.pop("versions")
    assert facts == {
        "format": 1,
        "kind": "picture",
        "pixels": "0..255",
        "image_size": 32,
        "pooling": "class token",
        "dim": 16,
        "source": str(presets / "vit"),
        "backbone": "ViTBackbone",
        "license": "mit",
    }
    assert [*versions] == ["keras", "keras_hub", "tensorflow"] and versions["tensorflow"] == tf.__version__
    assert not list(vit.parent.glob(".kerashub-vit*"))


def test_two_towers_equal_kerashub_with_tensorflow_only(clip, presets, tmp_path):
    """The texts hold numbers, accents and capitals, which KerasHub's own tokenizer graph splits differently."""
    check_answers(presets / "clip", {clip / "picture": "pixels", clip / "text": "texts"}, tmp_path)
    facts = json.loads((clip / "text" / "tower.json").read_text())
    expected = {
        "kind": "text",
        "tokenizer": "CLIPTokenizer",
        "tokens": 20,
        "dim": 12,
        "pooling": "joint space",
    }
    assert facts.items() >= expected.items()
    facts = json.loads((clip / "picture" / "tower.json").read_text())
    assert (
        facts.items() >= {"kind": "picture", "image_size": 32, "dim": 12, "backbone": "CLIPBackbone"}.items()
    )


def test_text_tower_does_not_cache_words(clip):
    assert b"MutableHashTable" not in (clip / "text" / "saved_model.pb").read_bytes()


def test_library_takes_the_towers(clip, vit, presets):
    answers = np.load(presets / "vit" / "answers.npz")
    features = backbone.build_backbone(vit, image_size=32)(answers["pixels"])
    np.testing.assert_allclose(features, answers["features"], rtol=1e-3, atol=1e-5)
    vectors = TextTower(clip / "text")(["a cat", "a photo of a cat"])
    assert vectors.shape == (2, 12)


def test_towers_are_converted_once_until_the_preset_changes(tmp_path, monkeypatch):
    asked = []

    def convert(preset, out, pixels):
        asked.append((preset, pixels))
        out.mkdir()
        return out

    monkeypatch.setenv("CTXVISION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(process, "convert_preset", convert)
    preset = tmp_path / "my clip"
    preset.mkdir()
    (preset / "config.json").write_text("{}")
    first = towers_of(str(preset))
    assert first.parent == tmp_path / "cache" / "towers" and first.name.startswith("my-clip-")
    assert towers_of(str(preset)) == first
    (preset / "config.json").write_text("{} ")
    others = {first, towers_of(str(preset)), towers_of(str(preset), "clip"), towers_of("hf://keras/my-clip")}
    assert len(others) == 4
    assert asked == [*2 * [(str(preset), None)], (str(preset), "clip"), ("hf://keras/my-clip", None)]


@pytest.mark.slow
def test_preset_becomes_a_context_a_run_and_an_export(presets, vit, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXVISION_CACHE", str(tmp_path / "cache"))
    (tmp_path / "phrases.tsv").write_text(
        "".join(f"{word} square\ten\t{n}\n" for n, word in enumerate(WORDS, 1))
    )
    named = ["--preset", presets / "clip", "--phrases", tmp_path / "phrases.tsv", "--pictures", tiny_data]
    assert main(["context", "build", *map(str, named), "--out", str(tmp_path / "context")]) == 0
    shutil.rmtree(tmp_path / "cache")  # the context contains its towers
    context = cv.Context(tmp_path / "context")
    assert context.config.phrase_pixels == "0..255" and list(context.phrase_table.counts) == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    config = cv.Config(visual_backbone=str(vit), head_steps=20, fractions=(1.0,), seeds=1, context_phrases=3)
    run = cv.train(tiny_data, tmp_path / "run", config, context=context)
    picture = tiny_data / "images" / "web-0.png"
    (answer,) = cv.predict(run.directory / "export", [picture])
    assert answer.label in run.data.labels and len(answer.phrases) == 3
    with pytest.raises(
        InputError, match="preset must be a two-tower model such as CLIP or SigLIP, got .*vit"
    ):
        cv.build_context(
            tmp_path / "phrases.tsv", None, None, tmp_path / "no", tiny_data, preset=str(presets / "vit")
        )


@pytest.mark.slow
def test_towers_come_from_a_separate_process(presets, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXVISION_CACHE", str(tmp_path / "cache"))
    folder = towers_of(str(presets / "vit"))
    monkeypatch.setattr(process, "PROGRAM", tmp_path / "not-there.py")
    assert towers_of(str(presets / "vit")) == folder
    check_answers(presets / "vit", {folder: "pixels"}, tmp_path)
    with pytest.raises(InputError, match=r"^\[Errno 2\]|not-there"):
        towers_of(str(presets / "vit"), pixels="clip")


def test_cache_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CTXVISION_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        InputError, match=r"^CTXVISION_CACHE must be a folder that can be written, got '.*file' "
    ):
        towers_of("vit_base_patch16_224_imagenet")


@pytest.mark.parametrize(
    ("program", "error", "match"),
    [
        (
            "import sys; print('noise\\npreset must be x.', file=sys.stderr); sys.exit(2)",
            InputError,
            r"^preset must be x\.$",
        ),
        (
            "raise KeyError('lost')",
            RuntimeError,
            r"converting 'a' failed with exit status 1:\n(.*\n)*KeyError: 'lost'$",
        ),
        ("import os; assert 'TF_USE_LEGACY_KERAS' not in os.environ", None, ""),
        ("import sys; assert sys.argv[1:] == ['--out=b', '--pixels=-1..1', '--', 'a']", None, ""),
    ],
)
def test_errors_of_the_process_are_passed_on(program, error, match, tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(process, "PROGRAM", tmp_path / "program.py")
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    if error is None:
        assert convert_preset("a", "b", pixels="-1..1") == Path("b")
    else:
        with pytest.raises(error, match=match):
            convert_preset("a", "b")


def test_pixel_conventions_equal_those_of_build_backbone():
    assert PIXELS == backbone.PIXELS


def test_existing_folder_is_refused(presets, tmp_path):
    told = refusal(convert(presets / "vit", "--out", tmp_path))
    assert told == f"--out must be a new folder, got '{tmp_path}': delete it, or name another."


@pytest.mark.parametrize(
    ("preset", "told"),
    [
        (
            "efficientnet_b0_ra_imagnet",
            "preset must be the name of a KerasHub preset, a handle or a preset folder, got "
            "'efficientnet_b0_ra_imagnet': try efficientnet_b0_ra_imagenet,",
        ),
        (
            "{empty}",
            "preset must be a folder that KerasHub can load, got '{empty}' (Preset {empty} has no config.json.",
        ),
        (
            "{presets}/bert",
            "preset must be an image backbone or a two-tower model of pictures and texts, got '{presets}/bert' of class "
            "BertBackbone: name one such as",
        ),
    ],
)
def test_preset_of_no_image_model_is_refused(preset, told, presets, tmp_path):
    (tmp_path / "empty").mkdir()
    places = {"presets": presets, "empty": tmp_path / "empty"}
    done = convert(preset.format(**places), "--out", tmp_path / "new" / "out")
    assert refusal(done).startswith(told.format(**places))
    assert left_in(tmp_path) == ["empty"]


def test_preset_that_cannot_be_downloaded_is_refused(tmp_path):
    offline = (
        f"os.environ.update(HTTPS_PROXY='http://127.0.0.1:9', KAGGLEHUB_CACHE={str(tmp_path / 'cache')!r})"
    )
    told = refusal(convert_after(offline, "clip_vit_base_patch16", "--out", tmp_path / "out"))
    assert told.startswith("preset must be one that can be downloaded, got 'clip_vit_base_patch16' (")
    assert told.endswith("): check its spelling and the network, or give a preset folder.")
    assert not (tmp_path / "out").exists()


def test_missing_keras_hub_is_told_with_the_pip_line(tmp_path):
    change = "sys.modules['keras_hub'] = None"
    told = refusal(
        convert_after(change, "clip_vit_base_patch16", "--out", tmp_path / "out", imports=("tensorflow",))
    )
    assert "run pip install 'ctxvision[convert]' with Python 3.11 or newer." in told


def test_preset_without_image_converter_needs_pixels(presets, tmp_path):
    bare = shutil.copytree(presets / "vit", tmp_path / "bare")
    (bare / "image_converter.json").unlink()
    told = refusal(convert(bare, "--out", tmp_path / "out"))
    assert told == (
        f"preset must have an image converter, which says what its pixels are, got none in '{bare}': add --pixels "
        f"0..255|0..1|-1..1|imagenet|clip."
    )


@pytest.mark.slow
def test_given_pixel_convention_goes_into_the_graph(presets, tmp_path):
    pixels = np.load(presets / "vit" / "answers.npz")["pixels"]
    done = convert(presets / "vit", "--out", tmp_path / "plain", "--pixels", "0..255")
    assert done.returncode == 0, done.stderr
    done = convert(presets / "vit", "--out", tmp_path / "scaled", "--pixels", "-1..1")
    assert done.returncode == 0, done.stderr
    plain, scaled = (
        tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"]
        for name in ("plain", "scaled")
    )
    expected = plain(tf.constant(pixels / 127.5 - 1))["features"]
    np.testing.assert_allclose(scaled(tf.constant(pixels))["features"], expected, rtol=1e-4, atol=1e-6)


def test_two_towers_without_tokenizer_are_refused(presets, tmp_path):
    bare = shutil.copytree(presets / "clip", tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    shutil.rmtree(bare / "assets")
    told = refusal(convert(bare, "--out", tmp_path / "out"))
    assert told.startswith(f"preset must hold the tokenizer of its text tower, got '{bare}' (")
    assert told.endswith("): save it there with tokenizer.save_to_preset.")
    assert left_in(tmp_path) == ["bare"]


@pytest.mark.slow
def test_tokenizer_that_cannot_be_traced_is_named(presets, tmp_path):
    change = "import keras_hub; keras_hub.tokenizers.CLIPTokenizer._tokenize_tf = lambda *_: 1 / 0"
    told = refusal(convert_after(change, presets / "clip", "--out", tmp_path / "out"))
    assert told == (
        "a text tower must have a tokenizer that runs in a TensorFlow graph, got CLIPTokenizer (division by zero): "
        "convert another preset."
    )
    assert left_in(tmp_path) == []


@pytest.mark.slow
def test_tower_with_other_answers_is_refused(presets, tmp_path):
    change = """
import keras_hub
call = keras_hub.layers.ImageConverter._call_tf
keras_hub.layers.ImageConverter._call_tf = lambda self, pixels: call(self, pixels) * 1.01
"""
    told = refusal(convert_after(change, presets / "vit", "--out", tmp_path / "out"))
    assert told.startswith("a picture tower must answer as KerasHub does to 0.0001, got a difference of ")
    assert left_in(tmp_path) == []


def test_full_disk_is_reported_and_leaves_no_files(presets, tmp_path):
    change = """
import tensorflow as tf
save = tf.saved_model.save
def full(*arguments, **named):
    save(*arguments, **named)
    raise tf.errors.ResourceExhaustedError(None, None, "{{node x}} variables; No space left on device [Op:SaveV2]")
tf.saved_model.save = full
"""
    told = refusal(convert_after(change, presets / "vit", "--out", tmp_path / "new" / "out"))
    assert told == (
        f"--out must be a folder that can be written, got '{tmp_path}/new/out' (variables; No space left on device): make "
        f"room there and in the cache of presets."
    )
    assert left_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_equals_kerashub(name, more_presets, tmp_path):
    done = convert(more_presets / name, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    check_answers(more_presets / name, {tmp_path / "out": "pixels"}, tmp_path)
    pooling = json.loads((tmp_path / "out" / "tower.json").read_text())["pooling"]
    assert pooling == np.load(more_presets / name / "answers.npz")["pooling"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "operation"), [("mobilenet", "DepthwiseConv2dNative"), ("cspnext", "Conv2D")]
)
def test_grouped_convolutions_need_no_xla(name, operation, more_presets, tmp_path):
    done = convert(more_presets / name, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    stored = saved_model_pb2.SavedModel.FromString((tmp_path / "out" / "saved_model.pb").read_bytes())
    functions = stored.meta_graphs[0].graph_def.library.function
    assert operation in {node.op for function in functions for node in function.node_def}
    assert not any(function.attr["_XlaMustCompile"].b for function in functions)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["siglip", "metaclip2"])
def test_two_towers_of_sentence_pieces_equal_kerashub(name, more_presets, tmp_path):
    done = convert(more_presets / name, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    check_answers(more_presets / name, {out / "picture": "pixels", out / "text": "texts"}, tmp_path)


@pytest.mark.slow
def test_stopped_converter_leaves_nothing(presets, tmp_path):
    program = subprocess.Popen([sys.executable, TOOL, presets / "clip", "--out", tmp_path / "new" / "out"])
    while not list(tmp_path.glob("new/.out.*")):
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGTERM)
    assert program.wait() == 143
    assert left_in(tmp_path) == []
