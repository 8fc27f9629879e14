"""Imports go one way, and the heavy text libraries stay where they belong."""

import ast
from pathlib import Path

import pytest

import ctxvision

PACKAGE = Path(ctxvision.__file__).parent

# A module may import its own group and the groups before it, never one after it.
GROUPS = (
    {"layers", "losses", "metrics", "data"},
    {"models", "prototypes"},
    {"training"},
    {"evaluation", "serving"},
    {"pipeline"},
    {"_cli_data", "_cli_vocabulary"},
    {"cli"},
)
FOR_ALL = {"errors", "_files", "_keras_guard"}
# `ctxvision.train` loads the pipeline when it is asked for: outside the command line, only the version is read.
FROM_THE_PACKAGE = {"__version__"}
NEVER = {("data", "layers")}
ONLY_IN = {
    "tensorflow_recommenders": {"layers/retrieval/scann_search.py", "models/siamese_text.py"},
    "tensorflow_text": {"layers/dual_encoder_text.py"},
}


def rank(part: str) -> int:
    return next((rank for rank, group in enumerate(GROUPS) if part in group), -1)


class Imports(ast.NodeVisitor):
    """Collects (dotted name, bound name or None) of every import that runs; `if TYPE_CHECKING:` does not."""

    def __init__(self, package: str):
        self.package = package
        self.found: list[tuple[str, str | None]] = []

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, alias.asname) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            above = self.package.split(".")
            source = ".".join(above[: len(above) - node.level + 1] + source.split(".") * bool(source))
        self.found += [(f"{source}.{alias.name}", alias.asname) for alias in node.names]


def violations(path: str, source: str) -> list[str]:
    """What is wrong with the imports of the module at `path`, relative to the package."""
    parts = Path(path).with_suffix("").parts
    part = parts[0]
    tree = ast.parse(source)
    imports = Imports(".".join(["ctxvision", *parts[:-1]]))
    imports.visit(tree)
    wrong = [
        f"{path} uses {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ctxvision"
        if part not in ("cli", "_cli_vocabulary") and node.attr not in FROM_THE_PACKAGE
    ]
    for name, bound in imports.found:
        top, _, rest = name.partition(".")
        if path not in ONLY_IN.get(top, {path}):
            wrong.append(f"{path} imports {top}")
        if top == "keras" or (top == "tf_keras" and (name, bound) != ("tf_keras", "keras")):
            wrong.append(f"{path} imports Keras other than by `import tf_keras as keras`")
        if name.startswith("tensorflow.keras"):
            wrong.append(f"{path} imports {name}")
        if top != "ctxvision":
            continue
        other = rest.partition(".")[0]
        if other in {"", *FOR_ALL, *FROM_THE_PACKAGE}:
            continue
        if rank(other) < 0:
            wrong.append(f"{path} imports {name}, which is in no group")
        elif rank(other) > rank(part) or (part, other) in NEVER:
            wrong.append(f"{path} imports {name}")
    return wrong


MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


@pytest.mark.parametrize("path", MODULES)
def test_module_imports_only_what_comes_before_it(path):
    assert violations(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


def test_every_module_is_in_a_group():
    assert {Path(path).parts[0].removesuffix(".py") for path in MODULES} == set().union(*GROUPS) | FOR_ALL


def test_package_itself_imports_only_the_guard():
    imports = Imports("ctxvision")
    imports.visit(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")))
    inner = [name for name, _ in imports.found if name.startswith("ctxvision")]
    assert inner == ["ctxvision._keras_guard.ensure_keras_2"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/a.py", "from ctxvision.models import explain"),
        ("layers/a.py", "from ..models import explain"),
        ("layers/a.py", "from .. import models"),
        ("layers/a.py", "def f():\n    import ctxvision.training.run"),
        ("layers/a.py", "import ctxvision\nctxvision.train('data', 'out')"),
        ("layers/a.py", "from ctxvision import train"),
        ("data/a.py", "from ctxvision.layers import VisualEncoder"),
        ("prototypes/a.py", "from ctxvision import training"),
        ("training/a.py", "from ctxvision.evaluation.records import Record"),
        ("serving/a.py", "import ctxvision.pipeline"),
        ("pipeline.py", "from ctxvision.cli import main"),
        ("errors.py", "from ctxvision.data import Manifest"),
        ("layers/a.py", "import tensorflow_recommenders as tfrs"),
        ("models/a.py", "from tensorflow_text import WhitespaceTokenizer"),
        ("layers/a.py", "import keras"),
        ("layers/a.py", "from keras import layers"),
        ("layers/a.py", "import tf_keras"),
        ("layers/a.py", "from tf_keras import layers"),
        ("layers/a.py", "from tensorflow import keras"),
        ("layers/a.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import ctxvision.cli"),
    ],
)
def test_violation_is_seen(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/a.py", "import tf_keras as keras\nimport tensorflow as tf\nimport numpy as np"),
        ("layers/a.py", "from ctxvision.errors import InputError\nfrom ctxvision._files import atomic_path"),
        ("layers/a.py", "from ctxvision.layers.backbone import build_backbone\nfrom . import backbone"),
        ("layers/a.py", "if TYPE_CHECKING:\n    from ctxvision.models import explain"),
        ("layers/retrieval/scann_search.py", "import tensorflow_recommenders as tfrs"),
        ("layers/dual_encoder_text.py", "import tensorflow_text as tf_text"),
        ("training/a.py", "from ctxvision.prototypes import PhraseTable"),
        ("evaluation/a.py", "from ctxvision.serving import Server"),
        ("serving/a.py", "import ctxvision\nprint(ctxvision.__version__)"),
        ("cli.py", "import ctxvision\nctxvision.demo('out')\nfrom ctxvision.pipeline import demo"),
    ],
)
def test_allowed_import_passes(path, source):
    assert violations(path, source) == []
