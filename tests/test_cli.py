"""Every verb with its exit status and messages."""

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf
from PIL import Image

import ctxvision
from ctxvision.cli import main
from ctxvision.cli.main import _parser
from ctxvision.serving.loading import load_export
from tests.tiny_data import tiny_settings, write_tiny_data

ENGLISH = ["red square", "blue square", "ripe tomato", "fresh lawn", "deep sea", "sweet lemon"]


def phrase_files(run):
    return {path: path.read_bytes() for path in (run / "table").rglob("*") if path.is_file()}


def test_train_on_a_finished_run_prints_where_things_are(tiny_data, tiny_run, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(tiny_settings(tiny_data)))
    arguments = ["train", str(tiny_data), "--out", str(tiny_run.directory)]
    assert main([*arguments, "--config", str(tmp_path / "config.json")]) == 0
    told = capsys.readouterr()
    assert (
        str(tiny_run.directory / "report.html") in told.out and str(tiny_run.directory / "export") in told.out
    )
    assert "head: done before, kept\n" in told.err
    assert main([*arguments, "--config", str(tmp_path / "config.json"), "--quiet"]) == 0
    assert capsys.readouterr() == (told.out, "")


def test_report_export_and_predict(tiny_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.directory, run)
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()

    serving = tmp_path / "serving"
    shutil.copytree(run / "export", serving)
    capsys.readouterr()
    assert main(["export", str(run), "--to", str(serving), "--with-text", "--quantize", "int8"]) == 0
    version, cost = capsys.readouterr().out.splitlines()
    assert version == str(serving / "2")
    assert "with_context" not in load_export(serving / "1").signatures
    assert "with_context" in load_export(serving).signatures
    told = json.loads((serving / "2/assets/ctxvision.json").read_text())["quantized"]
    assert (
        told["tables"] == "int8" and 0 < told["megabytes_after"] <= told["megabytes_before"]
    )  # nothing to store smaller
    assert (
        cost.startswith(f"on the {told['pictures']} pictures of val: top1 ")
        and "of the phrases the same" in cost
    )

    picture = tiny_run.data.split("test:easy").paths[0]
    assert main(["predict", str(serving), picture, "--explain", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] == "red label" and len(answer["phrases"]) >= 3
    assert main(["predict", str(serving), picture]) == 0
    assert "red label" in capsys.readouterr().out


def test_phrases(tiny_run, tmp_path, capsys):
    """Adds a phrase, finds it by its pictures, and removes it."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run.directory, run)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.new("RGB", (20, 20), (130, 20, 160 + i)).save(tmp_path / "pictures" / f"{i}.png")
    picture = str(tmp_path / "pictures" / "1.png")

    def typed(*arguments):
        assert main(["phrases", arguments[0], str(run), *arguments[1:]]) == 0
        return capsys.readouterr().out.splitlines()

    add = ("add", "our mascot", "--images", str(tmp_path / "pictures"))
    assert typed(*add, "--text", "blue square") == [
        "added 'our mascot' as phrase 12; export again to serve it"
    ]
    assert typed("add", "mascota", "--images", picture, "--language", "es") == [
        "added 'mascota' as phrase 13; export again to serve it",
        "warning: only phrases in en become context, not those in es",
    ]
    header, first, *others = typed("list", "--limit", "3")
    assert header == "pictures  language  phrase" and first == "      24  es        amarillo"
    assert others[2:] == ["and 11 more: --limit 0 lists all"]
    assert len(typed("list", "--limit", "0")) == 1 + 14
    assert typed("list", "--limit", "0", "--language", "es")[-1] == "       1  es        mascota"

    header, *rows = typed("search", picture, "-k", "9")
    assert header == " score  pictures  language  phrase" and len(rows) == 9
    assert sum(row.endswith("       3  en        our mascot") for row in rows) == 1
    header, *rows = typed("search", "blue square", "-k", "2")
    assert {row.split("  ")[-1] for row in rows} == {"blue square", "our mascot"}

    assert typed("remove", "our mascot", "rojo") == [
        "removed 'our mascot', 'rojo'; export again to serve without"
    ]
    assert not [row for row in typed("search", picture, "-k", "9") if "our mascot" in row]
    stats = typed("stats")
    assert [" ".join(line.split()) for line in stats[:3]] == [
        "phrases 12",
        "may become context 8",
        "removed 2",
    ]
    assert [" ".join(line.split()) for line in stats[-3:-1]] == ["in en 8", "in es 4"]
    assert stats[-1].startswith("kilobytes on disk")


def test_a_context_alone_and_moved(tiny_run, tiny_data, tmp_path, capsys):
    """A context describes, measures and exports; its run opens with `--context`."""
    run, context = str(tmp_path / "run"), str(tmp_path / "context")
    shutil.copytree(tiny_run.directory, run)
    shutil.move(f"{run}/context", context)
    picture = tiny_run.data.split("test:easy").paths[0]

    def typed(*arguments, status=0):
        assert main([*arguments]) == status
        told = capsys.readouterr()
        return told.err if status else told.out

    assert (
        typed("context", "describe", context, picture, "-k", "2").splitlines()[1].split("  ")[-1] in ENGLISH
    )
    (line,) = typed("context", "describe", context, picture, "--json").splitlines()
    assert json.loads(line)["path"] == picture and len(json.loads(line)["phrases"]) == 5
    figures = typed("context", "evaluate", context, str(tiny_data))
    assert re.search(r"test:easy +hit@3 +\d+\.\d%", figures) and f"card  {context}/README.md" in figures
    version = typed("context", "export", context, "--to", str(tmp_path / "tagger")).strip()
    assert version == str(tmp_path / "tagger" / "1")

    for arguments in (
        ("phrases", "stats", run),
        ("evaluate", run),
        ("report", run),
        ("concepts", "add", run, "name", "--images", picture),
    ):
        told = typed(*arguments, status=2).splitlines()
        assert told[-1].endswith("none there: name its folder with --context.") and len(told) == 1
    assert "must be left out beside a context" in typed(
        "phrases", "stats", context, "--context", run, status=2
    )
    assert typed("phrases", "stats", run, "--context", context).startswith("phrases")
    assert typed("report", run, "--context", context).strip() == f"{run}/report.html"


def test_concepts(tiny_run, tmp_path, capsys):
    """Adds a label from pictures, exports and predicts it, and removes it."""
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    shutil.copytree(tiny_run.directory, run)
    pictures.mkdir()
    for i in range(3):
        Image.new("RGB", (20, 20), (130, 20, 160 + i)).save(pictures / f"{i}.png")

    def typed(*arguments):
        assert main(["concepts", arguments[0], str(run), *arguments[1:]]) == 0
        return capsys.readouterr().out.splitlines()

    assert typed("add", "our mascot", "--images", str(pictures), "--label", "mascot") == [
        "added 'our mascot' with label 'mascot', learnt from 3 pictures; export again to serve it"
    ]
    assert typed("list") == ["pictures  label   concept", "       3  mascot  our mascot"]
    assert main(["export", str(run), "--to", str(tmp_path / "serving")]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "serving"), str(pictures / "1.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "mascot"

    assert main(["concepts", "add", str(run), "our mascot", "--images", str(pictures)]) == 2
    assert "name must be new, got 'our mascot'" in capsys.readouterr().err
    assert typed("remove", "our mascot") == ["removed 'our mascot'; export again to serve without"]
    assert typed("list") == ["pictures  label  concept"]
    assert main(["concepts", "remove", str(run), "our mascot"]) == 2
    assert "the run has none" in capsys.readouterr().err

    assert typed("add", "tomato", "--words", "ripe tomato|fresh lawn") == [
        "added 'tomato' with label 'tomato', learnt from the words ripe tomato, fresh lawn; export again to serve it"
    ]
    assert typed("list") == ["pictures  label   concept", "       0  tomato  tomato"]
    assert main(["concepts", "add", str(run), "okapi"]) == 2
    assert "a concept must have images or words, got neither" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "/nowhere", "--out", "OUT"], "data must name a folder with an images.csv"),
        (["train", "DATA", "--out", "OUT", "--label-column", "colour"], "colour"),
        (["train", "DATA", "--out", "OUT", "--config", "/nowhere.json"], "config must be a file"),
        (
            ["train", "DATA", "--out", "OUT", "--strategy", "cloud"],
            "strategy must be one of auto, cpu",
        ),
        (
            ["train", "DATA", "--out", "OUT", "--strategy", "gpu"],
            "needs a GPU that TensorFlow sees",
        ),
        (["train", "DATA", "--out", "OUT", "--strategy", "tpu"], "TPU_NAME and COLAB_TPU_ADDR"),
        (["train", "DATA", "--out", "OUT", "--strategy", "multiworker"], "TF_CONFIG"),
        (
            ["train", "DATA", "--out", "OUT", "--preset", "large"],
            "preset must be one of small, demo",
        ),
        (["plan", "--queries", "9", "--images", "9", "--devices", "gpu"], "devices must be one of cpu, v4"),
        (
            ["context", "build", "--phrases", "P", "--text-tower", "/no", "--picture-tower", "/no"]
            + ["--pictures", "DATA", "--out", "OUT"],
            "text_tower must be the folder of a",
        ),
        (["context", "describe", "/nowhere", "TEXT"], "context must be a folder made by ctxvision context"),
        (["train", "DATA", "--context", "/nowhere", "--out", "OUT"], "context must be a folder made by"),
        (["evaluate", "/nowhere"], "run must be a folder made by training"),
        (["evaluate", "RUN", "--suite", "table9"], "all, got 'table9'"),
        (["report", "/nowhere"], "run must be a folder made by training"),
        (["export", "/nowhere", "--to", "OUT"], "run must be a folder made by training"),
        (["predict", "/nowhere", "picture.png"], "/nowhere"),
        (["predict", "EXPORT", "/nowhere.png"], "/nowhere.png"),
        (["predict", "EXPORT", "TEXT"], "labels.json"),
        (["serve", "/nowhere", "--port", "0", "--rest-port", "0"], "/nowhere"),
        (["phrases", "add", "/nowhere", "it", "--images", "DATA"], "run must be a folder made by training"),
        (["phrases", "add", "RUN", "it", "--images", "TEXT"], "labels.json' that cannot be decoded"),
        (["phrases", "add", "RUN", "it", "--images", "EXPORT"], "images must name pictures or a folder"),
        (
            ["phrases", "add", "RUN", "it", "--images", "/nowhere.png"],
            "images must exist, got '/nowhere.png'",
        ),
        (["phrases", "add", "RUN", " ", "--images", "DATA"], "phrase must have words, got ' '"),
        (["phrases", "add", "RUN", "\udcff", "--images", "DATA"], "phrases must be valid Unicode"),
        (["phrases", "remove", "RUN", "rojo", "dog"], "phrases to remove must be in the table, got 'dog'"),
        (
            ["phrases", "remove", "RUN", *ENGLISH],
            "must leave the 3 that the classifier retrieves, got 6 of 8",
        ),
        (["phrases", "list", "RUN", "--language", "xx"], "language must be one of en, es, got 'xx'"),
        (["phrases", "list", "RUN", "--limit", "-1"], "limit must be 0 or more, got -1"),
        (["phrases", "search", "RUN", "/nowhere.png"], "query must be a phrase or a picture's file"),
        (["phrases", "search", "RUN", "red", "-k", "0"], "k must be at least 1, got 0"),
        (["phrases", "stats", "/nowhere"], "run must be a folder made by training"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, tiny_run, tiny_data, tmp_path, capsys):
    places = {
        "OUT": tmp_path / "out",
        "DATA": tiny_data,
        "RUN": tiny_run.directory,
        "EXPORT": tiny_run.directory / "export",
        "TEXT": tiny_data / "labels.json",
    }
    before = phrase_files(tiny_run.directory)
    assert main([str(places.get(word, word)) for word in arguments]) == 2
    assert phrase_files(tiny_run.directory) == before
    error = capsys.readouterr().err
    assert error.startswith("ctxvision: ") and error.count("\n") == 1 and sentence in error
    assert not (tmp_path / "out").exists()


def test_wrong_usage_is_status_2():
    for arguments in (
        [],
        ["dance"],
        ["train"],
        ["context"],
        ["export", "run", "--to", "x", "--retrieval", "ivvf"],
        ["phrases"],
        ["phrases", "add", "run", "it"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_do_not_import_tensorflow(option):
    command = [sys.executable, "-X", "importtime", "-m", "ctxvision", option]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & {"tensorflow", "numpy", "tqdm", "argcomplete"}


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    python = ".".join(map(str, sys.version_info[:3]))
    expected = f"ctxvision {ctxvision.__version__} (Python {python}, TensorFlow {tf.__version__})\n"
    assert stopped.value.code == 0 and capsys.readouterr().out == expected


def help_of(*verb):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stopped:
        main([*verb, "--help"])
    assert stopped.value.code == 0
    return out.getvalue()


def test_help_groups_the_verbs_by_task():
    page = help_of().partition("usage:")[0]
    tasks = {
        "make a context": ["context", "phrases"],
        "train a classifier": ["train", "concepts", "demo"],
        "look into it": ["evaluate", "report"],
        "serve and ask": ["export", "serve", "predict"],
        "data and tools": ["data", "plan", "doctor"],
    }
    assert re.findall(r"^(\S.*):$", page, re.M) == list(tasks)
    assert re.findall(r"^  (\w+)  +[A-Z].*\.$", page, re.M) == [
        verb for verbs in tasks.values() for verb in verbs
    ]


def verbs_of(parser, *path):
    yield path, parser
    for name, verb in parser.verbs.items():
        yield from verbs_of(verb, *path, name)


@pytest.mark.parametrize(
    "path, parser", [pytest.param(*verb, id="-".join(verb[0])) for verb in verbs_of(_parser()) if verb[0]]
)
def test_help_of_a_verb_begins_with_what_it_does_and_ends_with_a_command(path, parser):
    first, *_, heading, example = help_of(*path).splitlines()
    assert first == parser.summary and re.fullmatch("[A-Z].{5,}[.]", first)
    program, *arguments = shlex.split(example.removeprefix("  $ "))
    assert heading == "example:" and program == "ctxvision" and tuple(arguments[: len(path)]) == path
    assert callable(_parser().parse_args(arguments).verb)


@pytest.mark.slow
def test_the_demo_on_a_few_labels(tmp_path, monkeypatch, capsys):
    """`ctxvision demo` with few steps: real pictures, a real server, three answers."""
    import ctxvision.demo_run as demo_run
    from ctxvision.data import write_demo_data

    small = {"phrase_steps": 60, "visual_steps": 30, "text_steps": 30, "head_steps": 60, "seeds": 1}
    monkeypatch.setattr(demo_run, "QUICK", {**small, "fractions": [1.0]})
    monkeypatch.setattr(demo_run, "write_demo_data", lambda folder: write_demo_data(folder, limit=12))
    assert main(["demo", "--quick", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert out.count(".png") == 3 and "report.html" in out and "gRPC" in out
    times = dict(re.findall(r"^(context|12 labels|2 labels over the same context) +(\d+) s$", out, re.M))
    assert len(times) == 3 and int(times["2 labels over the same context"]) > 0
    report = (tmp_path / "demo" / "report.html").read_text()
    assert "2 labels over the same context" in report and "groups/" not in report
    records = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert {record["split"] for record in records} == {"seen", "unseen"}


def test_a_second_picture_folder_by_label_column(tmp_path, capsys):
    data = write_tiny_data(tmp_path / "data", web=8, labelled=8, test=4)
    assert main(["train", str(data), "--out", str(tmp_path / "run"), "--label-column", "split"]) == 2
    assert "label" in capsys.readouterr().err
