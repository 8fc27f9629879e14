"""Imports follow the order of the layers, and heavy text libraries load only where they are needed."""

import ast
from pathlib import Path

import pytest

import ctxvision

PACKAGE = Path(ctxvision.__file__).parent

# A module may import its own group and the groups before it.
GROUPS = (
    {"data", "metrics", "losses"},
    {"vocabulary"},
    {"layers"},
    {"models"},
    {"training"},
    {"kerashub"},
    {"context"},
    {"classifier"},
    {"evaluation"},
    {"pipeline"},
    {"demo_run"},
    {"cli", "__main__"},
)
# Groups outside the order: each may import the groups listed, and nothing after them.
BESIDE = {"report": {"metrics"}, "serving": {"data", "layers", "models"}}
FOR_ALL = {"errors", "_files", "_mapped", "_branches", "_templates", "_limits", "_keras_guard", "_tfrs"}
# A program and its parts, by their paths, that run under Keras 3 in a separate process.
KERAS_3 = ("kerashub/convert.py", "kerashub/_convert/")
# `ctxvision.train` loads the pipeline on first use; outside the command line, modules read only the version.
FROM_THE_PACKAGE = {"__version__"}
ONLY_IN = {
    "tensorflow_recommenders": {"_tfrs.py"},
    "ctxvision._tfrs.load_tfrs": {"layers/retrieval/scann_search.py", "models/siamese_text.py"},
    "tensorflow_text": {"layers/dual_encoder_text.py", "context/text_tower.py"},
}


def rank(part: str) -> int:
    return next((rank for rank, group in enumerate([*GROUPS, BESIDE]) if part in group), -1)


def allowed(part: str, other: str) -> bool:
    if part in BESIDE:
        return other == part or other in BESIDE[part]
    if other in BESIDE:
        return rank(part) >= rank("evaluation")
    return rank(other) <= rank(part)


class Imports(ast.NodeVisitor):
    """Collects (dotted name, bound name or None) of every import, also in functions and for type checkers."""

    def __init__(self, package: str):
        self.package = package
        self.found: list[tuple[str, str | None]] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, alias.asname) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            above = self.package.split(".")
            source = ".".join(above[: len(above) - node.level + 1] + source.split(".") * bool(source))
        self.found += [(f"{source}.{alias.name}", alias.asname) for alias in node.names]


def violations(path: str, source: str) -> list[str]:
    """Returns the faults in the imports of the module at `path`, relative to the package."""
    parts = Path(path).with_suffix("").parts
    part = parts[0]
    tree = ast.parse(source)
    imports = Imports(".".join(["ctxvision", *parts[:-1]]))
    imports.visit(tree)
    wrong = [
        f"{path} uses {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ctxvision"
        if part not in ("cli", "__main__") and node.attr not in FROM_THE_PACKAGE
    ]
    for name, bound in imports.found:
        top, _, rest = name.partition(".")
        wrong += [
            f"{path} imports {limited}"
            for limited, modules in ONLY_IN.items()
            if f"{name}.".startswith(f"{limited}.") and path not in modules
        ]
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
        elif not allowed(part, other):
            wrong.append(f"{path} imports {name}")
    return wrong


MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


@pytest.mark.parametrize("path", [path for path in MODULES if path.startswith(KERAS_3)])
def test_the_program_for_keras_3_imports_nothing_else_of_ctxvision(path):
    imports = Imports(".".join(["ctxvision", *Path(path).parts[:-1]]))
    imports.visit(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))
    names = [name for name, _ in imports.found if not name.startswith("ctxvision.kerashub._convert.")]
    assert not [name for name in names if name.partition(".")[0] in ("ctxvision", "tf_keras")]


@pytest.mark.parametrize("path", [path for path in MODULES if not path.startswith(KERAS_3)])
def test_module_imports_only_what_comes_before_it(path):
    assert violations(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


def test_every_module_is_in_a_group():
    assert {Path(path).parts[0].removesuffix(".py") for path in MODULES} == set().union(
        *GROUPS, BESIDE
    ) | FOR_ALL


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
        ("layers/a.py", "def f():\n    import ctxvision.classifier.run"),
        ("layers/a.py", "import ctxvision\nctxvision.train('data', 'out')"),
        ("layers/a.py", "from ctxvision import train"),
        ("data/a.py", "from ctxvision.layers import VisualEncoder"),
        ("prototypes/a.py", "from ctxvision import training"),
        ("training/a.py", "from ctxvision.evaluation.table1 import table1"),
        ("training/a.py", "from ctxvision.context.context import Context"),
        ("context/a.py", "def f():\n    from ctxvision.classifier.run import Run"),
        ("vocabulary/a.py", "from ctxvision.layers import PhraseGenerator"),
        ("layers/a.py", "if TYPE_CHECKING:\n    from ctxvision.models import explain"),
        ("report/a.py", "from ctxvision.evaluation import SUITES"),
        ("serving/a.py", "from ctxvision.classifier.run import Run"),
        ("classifier/a.py", "from ctxvision.serving import Server"),
        ("serving/a.py", "import ctxvision.pipeline"),
        ("pipeline.py", "from ctxvision.cli import main"),
        ("errors.py", "from ctxvision.data import Manifest"),
        ("layers/a.py", "import tensorflow_recommenders as tfrs"),
        ("layers/a.py", "from ctxvision._tfrs import load_tfrs"),
        ("models/a.py", "from tensorflow_text import WhitespaceTokenizer"),
        ("layers/a.py", "import keras"),
        ("layers/a.py", "from keras import layers"),
        ("layers/a.py", "import tf_keras"),
        ("layers/a.py", "from tf_keras import layers"),
        ("layers/a.py", "from tensorflow import keras"),
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
        ("layers/retrieval/scann_search.py", "from ctxvision._tfrs import load_tfrs"),
        ("layers/dual_encoder_text.py", "import tensorflow_text as tf_text"),
        ("training/a.py", "from ctxvision.vocabulary import PhraseTable"),
        ("evaluation/a.py", "from ctxvision.metrics.records import Record"),
        ("serving/a.py", "from ctxvision.models import explain"),
        ("serving/a.py", "import ctxvision\nprint(ctxvision.__version__)"),
        ("cli/a.py", "import ctxvision\nctxvision.demo('out')\nfrom ctxvision.pipeline import demo"),
    ],
)
def test_allowed_import_passes(path, source):
    assert violations(path, source) == []


def imported_modules(module: str, source: str) -> set[str]:
    """Returns the modules of the package that a module imports, at any place in it."""
    package = module if (PACKAGE / "/".join(module.split(".")[1:]) / "__init__.py").is_file() else ""
    imports = Imports(package or module.rpartition(".")[0])
    imports.visit(ast.parse(source))
    names = {name for name, _ in imports.found if name.startswith("ctxvision.")}
    known = {name for name in names if name in SOURCES}
    return known | {name.rpartition(".")[0] for name in names - known} & set(SOURCES)


SOURCES = {
    ".".join(["ctxvision", *Path(path).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in MODULES
}


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """Returns the modules of an import cycle, or an empty list."""
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        found = next(filter(None, (visit(one, [*way, module]) for one in sorted(graph[module]))), [])
        done.add(module)
        return found

    return next(filter(None, (visit(module, []) for module in sorted(graph))), [])


def test_no_import_cycle():
    graph = {
        module: imported_modules(module, (PACKAGE / path).read_text(encoding="utf-8")) - {module}
        for module, path in SOURCES.items()
    }
    assert sum(map(len, graph.values())) > 300
    assert cycle_of(graph) == []


def test_a_cycle_is_found():
    assert cycle_of({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c", "a"]
