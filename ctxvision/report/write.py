"""`report.html`: one self-contained page about a run."""

import json
import os
import re
from pathlib import Path
from typing import Any

from ctxvision._files import atomic_path, read_json
from ctxvision.errors import InputError
from ctxvision.metrics.records import load_records
from ctxvision.report.page import KINDS, page

PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Writes `report.html` into a run's folder and returns its path.

    The page holds everything it shows: it opens offline, on a phone and on paper, and loads nothing.

    Args:
        run_dir: the run's folder. Read are

            * `config.json`: `{"settings": {...}, "data": {"name"}, "versions": {...}}`;
            * `metrics.json`: a section for each suite; "answers" says how often each kind of example is met;
            * `visual_only/check.json`, where it is there: what training found on `val`;
            * `measured/left_out.json`, where it is there: suite to the sentence that says why it was left out;
            * `evaluation/examples.json`, where it is there: a list of `{"image": data URI, "truth": label,
              "split", "visual_only": {"label", "score"}, "multimodal": {"label", "score"}, "visual_share",
              "query_share", "phrases": [{"phrase", "score", "share"}], "kind": "win" | "loss" | "both_right" |
              "both_wrong"}`; scores of answers are probabilities, those of phrases cosines, shares are points of
              probability;
            * `head/choice.json`, where it is there: `member_weights`, how much each member of the head counts;
            * `logs/history.json`, where it is there: `{stage: {"loss": [...], "val_top1": [...]}}`;
            * `logs/times.json`, where it is there: a list of `{"part", "seconds"}`.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: when a needed file is missing or one of them is damaged.
    """
    run = Path(run_dir)
    records = load_records(run / "metrics.json")
    config_path = run / "config.json"
    if not config_path.is_file():
        raise InputError(
            f"{run} must hold config.json and does not; give the folder that `ctxvision train` wrote."
        )
    config = _read(config_path, dict, "ctxvision train")
    examples = _read_optional(run / "evaluation" / "examples.json", list, "ctxvision evaluate")
    for number, example in enumerate(examples):
        _check_example(example, number, run / "evaluation" / "examples.json")
    history = _read_optional(run / "logs" / "history.json", dict, "ctxvision train")
    choice = _read_optional(run / "head" / "choice.json", dict, "ctxvision train")
    times = _read_optional(run / "logs" / "times.json", list, "ctxvision train")
    check = _read_optional(run / "visual_only" / "check.json", dict, "ctxvision train")
    left_out = _read_optional(run / "measured" / "left_out.json", dict, "ctxvision evaluate")
    target = run / "report.html"
    with atomic_path(target) as temporary:
        temporary.write_text(
            page(
                config, records, examples, history, check, left_out, times, choice.get("member_weights", ())
            ),
            encoding="utf-8",
        )
    return target


def _read_optional(path: Path, kind: type, command: str) -> Any:
    return _read(path, kind, command) if path.is_file() else kind()


def _read(path: Path, kind: type, command: str) -> Any:
    remedy = f"delete the file and run `{command}` again."
    try:
        value = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be JSON and is damaged ({error}); {remedy}") from error
    if not isinstance(value, kind):
        raise InputError(
            f"{path} must hold a JSON {'object' if kind is dict else 'list'}, got "
            f"{type(value).__name__}; {remedy}"
        )
    return value


def _check_example(example: Any, number: int, path: Path) -> None:
    """A picture must be inside the file: a page that fetches one would not open offline."""
    remedy = "delete the file and run `ctxvision evaluate` again."
    keys = (
        "image",
        "truth",
        "split",
        "visual_only",
        "multimodal",
        "visual_share",
        "query_share",
        "phrases",
        "kind",
    )
    missing = [key for key in keys if not isinstance(example, dict) or key not in example]
    if missing:
        raise InputError(
            f"{path} must hold examples with the keys {', '.join(keys)}, got example {number} without "
            f"{', '.join(missing)}; {remedy}"
        )
    if not PICTURE.fullmatch(str(example["image"])):
        raise InputError(
            f"{path} must hold pictures as base64 data URIs, got {str(example['image'])[:40]!r} in "
            f"example {number}; {remedy}"
        )
    if example["kind"] not in KINDS:
        raise InputError(
            f"{path} must hold examples of the kinds {', '.join(KINDS)}, got {example['kind']!r} in "
            f"example {number}; {remedy}"
        )
