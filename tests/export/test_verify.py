"""Tests verify.py on a right export, and that each check reports what is wrong."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from _verify import artefact as artefacts
from _verify import checks
from _verify.artefact import Artefact, Miss, drawn_pictures
from PIL import Image

import ctxvision as cv
from tests.export.conftest import EXPORT, LABELS
from tests.fresh_process import run_fresh
from tests.tiny_model import tiny_classifier

CHECKS = ["ops", "signatures", "loads", "batch sizes", "broken picture", "alone and together"]
CHECKS += ["about", "warm-up", "C library", "probabilities", "labels"]


def verify(*arguments, program=EXPORT / "verify.py"):
    return run_fresh(program, arguments)


def said(done):
    """Maps the name of each check, in order, to its status and result."""
    lines = [line for line in done.stdout.splitlines()[1:] if not line.startswith("     ")]
    return {line[5:].partition(": ")[0]: (line[:5].strip(), line.partition(": ")[2]) for line in lines}


@pytest.fixture
def copy(version, tmp_path):
    """Copies the version, so that a test may damage it."""
    return shutil.copytree(version, tmp_path / "1")


def describe(copy, **changes):
    file = copy / "assets" / "ctxvision.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return Artefact(copy)


def test_a_right_export_passes_with_tensorflow_alone_and_equals_its_run(tiny_run, tmp_path):
    picture = tmp_path / "picture.gif"
    Image.open(tiny_run.data.split("test:easy").paths[0]).save(picture)
    arguments = [tiny_run.directory / "export", "--run", tiny_run.directory, "--images", picture]
    watched = f"""
import runpy, sys
sys.path.insert(0, {str(EXPORT)!r})
sys.argv = ["verify.py", *{[str(one) for one in arguments]!r}]
try:
    runpy.run_path({str(EXPORT / "verify.py")!r}, run_name="__main__")
except SystemExit as end:
    print("exit", end.code)
names = ("ctxvision", "tensorflow_text", "tensorflow_recommenders", "scann", "tf_keras")
print("imported", [name for name in names if name in sys.modules])
"""
    done = verify(program=watched)
    assert "exit 0" in done.stdout.splitlines(), done.stdout + done.stderr
    assert "imported []" in done.stdout.splitlines()
    lines = {name: line for name, line in said(done).items() if name in [*CHECKS, "parity"]}
    assert list(lines) == [*CHECKS, "parity"] and {status for status, _ in lines.values()} == {"ok"}
    assert "0 of TF.Text, all others TensorFlow core" in lines["ops"][1]
    # Without pictures, oneDNN's convolutions fail on some processors, also those of the run's towers.
    assert lines["batch sizes"][1] == "1, 3 and 0 pictures, every signature"
    assert "1 pictures, every signature" in lines["parity"][1]
    assert sum("median of 50" in line for line in done.stdout.splitlines()) == 2


@pytest.mark.slow
def test_a_tagger_passes_without_labels(tiny_run, tmp_path):
    done = verify(cv.export_context(tiny_run.context.directory, tmp_path / "tagger"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(said(done)) == CHECKS[:-2]


@pytest.mark.slow
def test_parity_of_smaller_tables_and_no_parity_with_another_run(tiny_run, tmp_path):
    smaller = Artefact(cv.export(tiny_run, tmp_path / "small", with_text=True, quantize="float16"))
    smaller.load()
    assert "every signature" in checks.parity(smaller, str(tiny_run.directory), drawn_pictures())

    model = tiny_run.build_classifier("ivf")
    stage = model.fusion.members[0].output_stage
    stage.kernel.assign(-stage.kernel)
    cv.export_saved_model(model, tmp_path / "other" / "1")
    other = Artefact(tmp_path / "other" / "1")
    other.load()
    with pytest.raises(Miss, match=r"\w+: \w+ differ by [01]"):
        checks.parity(other, str(tiny_run.directory), drawn_pictures())


@pytest.mark.slow
def test_the_c_library_loads_the_ops_of_text(tmp_path):
    found = Artefact(cv.export_saved_model(tiny_classifier(labels=LABELS), tmp_path / "1", with_text=True))
    found.load()
    assert "every signature" in checks.c_library(found, drawn_pictures())


@pytest.mark.slow
def test_a_different_answer_of_the_c_library_is_a_miss(loaded, tmp_path):
    """Python has the right export in memory, and the files are of another export."""
    model = tiny_classifier(k=4, labels=LABELS)
    stage = model.fusion.members[0].output_stage
    stage.kernel.assign(-stage.kernel)
    other = Artefact(cv.export_saved_model(model, tmp_path / "1"))
    other.loaded = loaded.loaded
    with pytest.raises(Miss, match=r"\w+ by the C library: \w+ differ"):
        checks.c_library(other, drawn_pictures())


def test_an_export_that_the_c_library_cannot_load(loaded, copy):
    (copy / "variables" / "variables.index").write_bytes(b"damaged")
    damaged = Artefact(copy)
    damaged.loaded = loaded.loaded
    with pytest.raises(Miss, match="session.py failed: file is too short to be an sstable"):
        checks.c_library(damaged, drawn_pictures())


@pytest.mark.parametrize(
    "arguments",
    [["nowhere"], ["{version}", "--run", "nowhere"], ["{version}", "--images", "{version}/saved_model.pb"]],
)
def test_wrong_usage(version, arguments):
    done = verify(*(argument.format(version=version) for argument in arguments))
    assert done.returncode == 2 and done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("verify.py: ")]
    assert " must be " in line and "got '" in line


def test_a_miss_is_printed_and_exits_with_1(copy):
    (copy / "assets.extra" / "tf_serving_warmup_requests").unlink()
    (copy / "variables" / "variables.index").write_bytes(b"damaged")
    done = verify(copy)
    assert done.returncode == 1
    assert said(done)["loads"][0] == "MISS" and list(said(done)) == CHECKS[:3]


def test_scann_is_not_for_the_stock_server(tmp_path):
    cv.export_saved_model(tiny_classifier("scann", rows=5000), tmp_path / "1")
    with pytest.raises(Miss, match="needs ScaNN: not for the stock server; export with --retrieval ivf"):
        checks.ops(Artefact(tmp_path / "1"))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_ops_that_call_python_and_functions_that_require_xla(copy, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def double(x):
        return 2 * x if jit_compile else tf.numpy_function(lambda y: 2 * y, [x], tf.float32)

    module = tf.Module()
    module.call = tf.function(lambda x: {"y": double(x)}, [tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(copy), signatures=module.call.get_concrete_function())
    match = "requires XLA" if jit_compile else r"PyFunc\w*: not in the stock server"
    with pytest.raises(Miss, match=match):
        checks.ops(describe(copy))


@pytest.mark.slow
def test_text_ops_need_an_export_that_lists_them(copy, tmp_path):
    with pytest.raises(Miss, match="lists TF.Text in needs, but the graph has none of its ops"):
        checks.ops(describe(copy, needs=["tensorflow_text"]))
    model = tiny_classifier(k=4, labels=LABELS)
    text = Artefact(cv.export_saved_model(model, tmp_path / "text" / "1", with_text=True))
    assert ", 3 of TF.Text, all others TensorFlow core" in checks.ops(text)
    text.load()
    assert "with_context, zero_shot, as in README.md" in checks.signatures(text)
    checks.batch_sizes(text, drawn_pictures())
    with pytest.raises(Miss, match="NormalizeUTF8, TFText>.*: not in the stock server"):
        checks.ops(describe(text.directory, needs=[]))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "`pixels` uint8 [B, H, W, 3]",
            "`pixels` float32 [B, H, W, 3]",
            r"pixels is uint8 \[-1, -1, -1, 3\], float32",
        ),
        ("`pixels` uint8 [B, H, W, 3]", "`pixels` uint8 [B, H, W, 4]", r"uint8 \[B, H, W, 4\] in README"),
        (
            "`phrase_shares` float32 [B, m, k]",
            "`phrase_shares` float32 [B, k, k]",
            r"phrase_shares is float32",
        ),
        ("`visual` float32 [B, D]; ", "", "embed: outputs are .* in README.md"),
        ("`k` int32 [] (optional)", "`k` int32 []", "embed: allow_flags.* are optional, .* in README.md"),
        ("| `explain` |", "| explain |", "README.md does not document explain"),
    ],
)
def test_the_table_of_the_readme_is_checked(version, tmp_path, monkeypatch, old, new, match):
    checks.signatures(Artefact(version))
    table = (EXPORT / "README.md").read_text(encoding="utf-8")
    assert old in table
    (tmp_path / "README.md").write_text(table.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(artefacts, "README", tmp_path / "README.md")
    with pytest.raises(Miss, match=match):
        checks.signatures(Artefact(version))


def test_the_table_of_a_model_of_several_labels(tmp_path):
    model = tiny_classifier(labels=LABELS)
    model.thresholds = [0.5] * len(LABELS)
    several = Artefact(cv.export_saved_model(model, tmp_path / "1"))
    several.load()
    checks.signatures(several)
    assert checks.probabilities(several, drawn_pictures()) == "in 0 .. 1, several labels per picture"


def test_ctxvision_json_is_checked(copy, loaded):
    said = loaded.description
    with pytest.raises(Miss, match=r"the export has .*, ctxvision.json lists embed"):
        checks.signatures(describe(copy, signatures=["embed"]))
    wrong = describe(copy, labels=said["labels"][::-1])
    wrong.loaded = loaded.loaded
    with pytest.raises(Miss, match="labels are not those of ctxvision.json"):
        checks.labels(wrong, drawn_pictures())


def test_about_equals_the_files(copy, loaded):
    assert "image_size, labels, needs" in checks.about(loaded)
    wrong = describe(copy, image_size=7)
    wrong.loaded = loaded.loaded
    with pytest.raises(Miss, match="about answers image_size differently from ctxvision.json"):
        checks.about(wrong)
    right = describe(copy, image_size=loaded.description["image_size"])
    right.loaded = loaded.loaded
    (copy / "assets" / "labels.txt").write_text("\n".join(LABELS[::-1]), encoding="utf-8")
    with pytest.raises(Miss, match="labels.txt lists other labels"):
        checks.about(right)


def test_warmup_requests_are_sent(loaded, copy):
    assert checks.warmup(loaded) == "every signature, batches of 1, 32"
    file = copy / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    for kept in ([], records[1:], [record for record in records if b"explain" not in record]):
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in kept:
                writer.write(record)
        fewer = Artefact(copy)
        fewer.loaded = loaded.loaded
        with pytest.raises(Miss, match="warm-up must cover every signature with batch 1"):
            checks.warmup(fewer)


def test_saved_model_cli_reads_it_as_the_readme_says(version):
    lines = re.findall(r"^saved_model_cli .*$", (EXPORT / "README.md").read_text(encoding="utf-8"), re.M)
    tool = Path(sys.executable).with_name("saved_model_cli")
    shown, told = (
        run_fresh(
            tool,
            shlex.split(line.replace("DIR/1", str(version)))[1:],
            ["tensorflow", "tensorflow.python.tools.saved_model_cli"],
        ).stdout
        for line in lines
    )
    assert "inputs['image_bytes'] tensor_info" in shown and "outputs['probabilities'] tensor_info" in shown
    assert '["cat", "dog", "bird", "fish", "horse"' in told and '"tensorflow": "2.' in told
