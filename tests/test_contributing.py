"""The files, names and make targets in CONTRIBUTING.md exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# On one line, because a list of names may be wrapped.
TEXT = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())


def test_files_are_there():
    named = re.findall(r"`((?:\.ci|ctxvision|export|tests|tools)/[^` ]*|[\w.-]+\.(?:cfg|txt|md))`", TEXT)
    assert len(named) > 20
    assert [path for path in named if "NAME" not in path and not any(ROOT.glob(path))] == []


def test_names_are_in_their_files():
    found = re.findall(r"((?:`\w+`(?:, | and )?)+) (?:of|in) `(ctxvision/[\w/]+\.py)`", TEXT)
    assert len(found) >= 5
    for names, file in found:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"\w+(?=`)", names):
            assert re.search(rf"^(def |class )?{name}\b", source, re.MULTILINE), (name, file)


def test_targets_of_make_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|\$ )make ([\w-]+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
