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
    def run(name: str) -> list:
        """Runs a notebook without its install cell and returns the executed code cells.

        A failing cell raises. Output on standard error fails the test, since Jupyter shows it in red.
        """
        notebook = nbformat.read(COLAB / name, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if "install" not in tags(cell)]
        (parameters,) = [cell for cell in notebook.cells if "parameters" in tags(cell)]
        assert parameters.source.count("SMALL = False") == 1
        parameters.source = parameters.source.replace("SMALL = False", "SMALL = True")
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}})
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": paths, "IPYTHONDIR": str(folder / "jupyter")}
        # Under this variable ipykernel does not capture what TensorFlow's C++ code prints.
        environment.pop("PYTEST_CURRENT_TEST", None)
        client.execute(env=environment)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        outputs = [output for cell in code for output in cell.outputs]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == []
        return code

    return run


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def text(cell) -> str:
    """What a code cell printed, and the Markdown that it displayed."""
    return "".join(
        output.text if output.output_type == "stream" else output.data.get("text/markdown", "")
        for output in cell.outputs
    )


def table(cell) -> list[list[str]]:
    """The rows of the Markdown tables that a code cell displayed, without the lines below their heads."""
    rows = [line.strip("| ").split(" | ") for line in text(cell).splitlines() if line.startswith("| ")]
    return [[value.strip() for value in row] for row in rows]


def pictures(cell) -> int:
    """How many pictures a code cell displayed."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_without_outputs(name):
    notebook = nbformat.read(COLAB / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    install = [cell for cell in code if "install" in tags(cell)]
    assert len(install) == 1 and install[0] is code[0]
    assert not any(re.search("^[%!]", cell.source, re.MULTILINE) for cell in code[1:])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_text_precedes_each_code_cell(name):
    cells = nbformat.read(COLAB / name, as_version=4).cells
    kinds = [cell.cell_type for cell in cells]
    assert kinds[0] == "markdown" and ("code", "code") not in zip(kinds, kinds[1:])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_tested_versions_are_installed(name):
    cells = nbformat.read(COLAB / name, as_version=4).cells
    (install,) = [cell.source for cell in cells if "install" in tags(cell)]
    assert '%pip install -q -c repository/constraints.txt "./repository[demo]"' in install
    (tested,) = re.findall("^tensorflow==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert set(re.findall(r"tensorflow-tpu==(\S+)", install)) <= {tested}


@pytest.mark.slow
def test_context(run_notebook, folder):
    cells = run_notebook("context.ipynb")
    described, tagged = text(cells[3]).splitlines(), text(cells[9]).splitlines()
    assert pictures(cells[3]) == len(described) == 4
    assert [re.sub(r" [01]\.\d\d", "", line) for line in described] == tagged
    phrases, retrievable = map(int, re.match(r"(\d+) phrases, (\d+) retrievable", text(cells[4])).groups())
    assert 0 < retrievable < phrases
    assert text(cells[5]).startswith("kiss 1.00, ") and text(cells[5]).count(",") == 7
    assert pictures(cells[6]) == 1
    card = {row[0]: row[1:] for row in table(cells[7])}
    assert card["licence"] == ["the drawings belong to their vendors"]
    head, *figures = [row for row in table(cells[7]) if row[0] in ("data", "emoji")]
    assert [row[1] for row in figures] == ["test:seen", "test:unseen"]
    hits = [[float(value) for value in row[2 : 2 + head[2:].index("MRR@10")]] for row in figures]
    assert all(row[0] > 0 and row == sorted(row) and row[-1] <= 100 for row in hits), hits
    assert text(cells[8]) == "serving/tagger/1\n"
    assert (folder / "emoji-context.zip").is_file()
    assert text(cells[11]) == "same fingerprint: True\nsame phrases: True\n"


@pytest.mark.slow
def test_quickstart(run_notebook, folder):
    cells = run_notebook("quickstart.ipynb")
    counts = {row[0]: list(map(int, row[1:])) for row in table(cells[2])[1:]}
    assert list(counts) == ["web", "pretrain", "train", "val", "test:seen", "test:unseen"]
    assert counts["web"][1] == 0 and counts["train"][1] == 4 and min(row[0] for row in counts.values()) > 0
    assert pictures(cells[3]) == len(text(cells[3]).splitlines()) == 4
    assert pictures(cells[5]) == len(text(cells[5]).splitlines()) == 3
    head, *rows = table(cells[7])
    assert head == ["test", "labels", "visual only", "multimodal", "shuffled phrases"]
    assert [row[:2] for row in rows] == [["seen", "100%"], ["unseen", "100%"]]
    assert all(0 <= float(value) <= 100 for row in rows for value in row[2:])
    assert pictures(cells[8]) == 3
    assert text(cells[8]).count(": picture ") == text(cells[8]).count(", phrase generator ") == 3
    labels = (folder / "runs/emoji/export/1/assets/labels.txt").read_text().splitlines()
    answers = re.findall(r"^(\S+) \(.+\); the export says (\S+)$", text(cells[9]), re.MULTILINE)
    assert len(answers) == 3 and all(model == export and model in labels for model, export in answers)


@pytest.mark.slow
def test_few_shot(run_notebook):
    cells = run_notebook("few_shot.ipynb")
    assert [pictures(cells[number]) for number in (3, 4, 9)] == [1, 1, 1]
    before, after = text(cells[5]), text(cells[7])
    assert before.startswith("keycaps called keycap: 0 of 12\n")
    assert text(cells[6]) == "learnt 'keycap' from 5 pictures\n"
    assert int(re.match(r"keycaps called keycap: (\d+) of 12\n", after)[1]) > 6
    assert int(re.search(r"^known pictures right: (\d+) of", after, re.MULTILINE)[1]) > 0
    assert text(cells[8]) == f"{before}as before: True\n"
    head, *rows = table(cells[11])
    assert [row[0] for row in rows] == ["clock", "country flag", "keycap"]
    right, asked = (sum(int(row[column]) for row in rows) for column in (1, 2))
    assert right > asked / 2, rows  # for 3 labels


@pytest.mark.slow
def test_serving(run_notebook, folder):
    cells = run_notebook("serving.ipynb")
    assert "serving/emoji/1/saved_model.pb" in text(cells[3])
    assert "needs: []" in text(cells[4]) and "serving_default" in text(cells[4])
    labels = (folder / "serving/emoji/1/assets/labels.txt").read_text().splitlines()
    grpc, rest = text(cells[7]).splitlines(), text(cells[8]).splitlines()
    assert pictures(cells[7]) == len(rest) == 3
    assert [line.partition(":")[0] for line in grpc] == rest
    (label, _), *shares, (_, total) = table(cells[9])
    assert label in labels and label == rest[0].split()[0]
    # Each share is rounded to three digits.
    assert abs(sum(float(share) for _, share in shares) - float(total.strip("*"))) <= 0.0005 * (
        len(shares) + 1
    )
    differences = re.findall(r"^(?:gRPC|REST) differs by at most (\S+)$", text(cells[10]), re.MULTILINE)
    assert len(differences) == 2 and all(float(one) < 1e-5 for one in differences)
    assert "same phrases: True" in text(cells[10])


@pytest.mark.slow
def test_train_on_tpu(run_notebook, folder):
    """Runs without a TPU, so it does not test a TPU."""
    cells = run_notebook("train_on_tpu.ipynb")
    assert text(cells[2]) == "cpu: 1 replicas\n"
    assert re.search(r"^ +\d+ records, .* MB  web-00000-of-00001\.tfrecord$", text(cells[4]), re.MULTILINE)
    accuracies = re.match(r"accuracy on the training pictures: \[(\S+), (\S+)\]$", text(cells[7])).groups()
    assert all(0 <= float(accuracy) <= 1 for accuracy in accuracies)
    assert text(cells[8]) == "serving/tpu/1\n"
    labels = (folder / "serving/tpu/1/assets/labels.txt").read_text().splitlines()
    served = [line.partition(" ")[0] for line in text(cells[9]).splitlines()]
    assert pictures(cells[9]) == len(served) == 3 and set(served) <= set(labels)
    assert text(cells[10]).splitlines() == served
