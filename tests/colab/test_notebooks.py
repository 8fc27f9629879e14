"""The notebooks of colab/ run from top to bottom with few steps on few pictures, outside of Colab."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
COLAB = ROOT / "colab"
NOTEBOOKS = sorted(path.name for path in COLAB.glob("*.ipynb"))
SECONDS = 3600  # limit for one cell, which only a hang reaches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A shared folder for the notebooks: each finds the files of the earlier ones, as on a persistent disk."""
    folder = tmp_path_factory.mktemp("colab")
    (folder / "repository").symlink_to(ROOT)
    return folder


@pytest.fixture(scope="module")
def run_notebook(folder):
    def run(name: str) -> list[str]:
        """Returns the output of each code cell; a failing cell raises."""
        notebook = nbformat.read(COLAB / name, as_version=4)
        cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", [])]
        (parameters,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        assert parameters.source.count("SMALL = False") == 1
        parameters.source = parameters.source.replace("SMALL = False", "SMALL = True")
        notebook.cells = cells
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}})
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        home = str(folder / "jupyter")
        client.execute(
            env={**os.environ, "PYTHONPATH": paths, "IPYTHONDIR": home, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        return ["".join(out.text for out in cell.outputs if out.get("name") == "stdout") for cell in code]

    return run


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_without_outputs(name):
    notebook = nbformat.read(COLAB / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    install = [cell for cell in code if "install" in cell.metadata.get("tags", [])]
    assert len(install) == 1 and install[0] is code[0]
    assert all("%pip" not in cell.source for cell in code[1:])


@pytest.mark.slow
def test_quickstart(run_notebook, folder):
    printed = run_notebook("quickstart.ipynb")
    context = printed[2]
    assert re.search(r"^seen +multimodal +\d", context, re.MULTILINE)
    assert re.search(r"^unseen +shuffled_phrases +\d", context, re.MULTILINE)
    assert printed[3].count(": picture ") == printed[3].count(", phrase generator ") == 3
    assert re.search(r"^web +96 pictures, +0 labels, +8 queries$", printed[5], re.MULTILINE)
    assert re.search(r"^test +24 pictures, +4 labels, +0 queries$", printed[5], re.MULTILINE)
    said = dict(line.split(": ") for line in printed[-1].splitlines())
    labels = (folder / "runs/own/export/1/assets/labels.txt").read_text().splitlines()
    assert labels == ["blue label", "green label", "red label", "yellow label"]
    assert said["export"] == said["model"] and said["model"] in labels
    assert (folder / "runs/own/report.html").is_file()


@pytest.mark.slow
def test_few_shot(run_notebook):
    printed = run_notebook("few_shot.ipynb")
    before, after, undone = printed[3:6]
    assert before.startswith("keycaps called keycap: 0 of 12\n")
    assert after.startswith("learnt 'keycap' from 5 pictures\n")
    assert int(re.search(r"^other pictures right: (\d+) of", after, re.MULTILINE)[1]) > 0
    own, others = map(
        float,
        re.search(r"^probability of keycap: (\S+) for keycaps, (\S+) for", after, re.MULTILINE).groups(),
    )
    # So few steps on such small pictures do not decide whether it is also the largest.
    assert own > 2 * others, after
    assert undone == f"{before}as before: True\n"
    rows = re.findall(r"^(keycap|country flag|neither): (\d+) of (\d+) right$", printed[-1], re.MULTILINE)
    assert [name for name, _, _ in rows] == ["keycap", "country flag", "neither"]
    right, asked = (sum(map(int, column)) for column in list(zip(*rows))[1:])
    assert right > asked / 2, printed[-1]  # for 3 labels


@pytest.mark.slow
def test_serving(run_notebook, folder):
    printed = run_notebook("serving.ipynb")
    assert "serving/demo/1/saved_model.pb" in printed[2]
    assert "needs: []" in printed[3] and "serving_default" in printed[3]
    labels = (folder / "serving/demo/1/assets/labels.txt").read_text().splitlines()
    grpc, rest = printed[5].splitlines(), printed[6].splitlines()
    assert len(rest) == 3 and [line.partition(":")[0] for line in grpc] == rest
    assert len(re.findall(r"^[+-]0\.\d{3}  \S", printed[7], re.MULTILINE)) >= 2
    differences = re.findall(r"^(?:gRPC|REST) differs by at most (\S+)$", printed[-1], re.MULTILINE)
    assert len(differences) == 2 and all(float(one) < 1e-5 for one in differences)
    assert "same phrases: True" in printed[-1]
    assert printed[-1].splitlines()[-1].removeprefix("label: ") in labels


@pytest.mark.slow
def test_train_on_tpu(run_notebook, folder):
    """Runs without a TPU, so it does not test a TPU."""
    printed = run_notebook("train_on_tpu.ipynb")
    assert printed[1] == "cpu: 1 replicas\n"
    assert re.search(r"^ +\d+ records, .* MB  web-00000-of-00001\.tfrecord$", printed[2], re.MULTILINE)
    told = re.search(r"^accuracy on the pictures it learns from: \[(\S+), (\S+)\]$", printed[4])
    assert 0 <= float(told[1]) <= 1 and 0 <= float(told[2]) <= 1
    assert printed[5].endswith("serving/emoji/1\n")
    labels = (folder / "serving/emoji/1/assets/labels.txt").read_text().splitlines()
    served = [line.partition(" ")[0] for line in printed[6].splitlines()]
    assert len(served) == 3 and set(served) <= set(labels)
    assert printed[7].splitlines() == [f"label: {label}" for label in served]
