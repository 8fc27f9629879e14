"""Writes `report.html`, one self-contained page about a run."""

import os
import re
from pathlib import Path
from typing import Any

from ctxvision._files import atomic_path, read_json_of
from ctxvision.errors import InputError
from ctxvision.metrics.records import load_records
from ctxvision.report.page import KINDS, page

PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Writes `report.html` into a run's folder.

    The page loads nothing, so it opens offline. It fits screens, phones and paper.

    Args:
        run_dir: the run's folder, which holds

            * `config.json`: `{"settings": {...}, "data": {"name"}, "versions": {...}}`;
            * `metrics.json`: a list of records; each suite becomes a section, and suite "answers" holds the share of
              each kind of example.

            Optional files:

            * `visual_only/check.json`: `{"sentence"}`, the result of training on `val`;
            * `measured/left_out.json`: maps a suite to the reason why it was left out;
            * `evaluation/examples.json`: a list of `{"image": data URI, "truth": label, "split", "visual_only":
              {"label", "score"}, "multimodal": {"label", "score"}, "visual_share", "query_share", "phrases":
              [{"phrase", "score", "share"}], "kind": "win" | "loss" | "both_right" | "both_wrong"}`; scores of answers
              are probabilities, scores of phrases are cosines, and shares are parts of the probability;
            * `head/choice.json`: `{"member_weights"}`, the weights of the head's members;
            * `logs/history.json`: `{stage: {"loss": [...], "val_top1": [...]}}`;
            * `logs/times.json`: a list of `{"part", "seconds"}`.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: a required file is missing, or a file is damaged.
    """
    run = Path(run_dir)
    records = load_records(run / "metrics.json")
    config_path = run / "config.json"
    if not config_path.is_file():
        raise InputError(f"{run} must hold config.json, got none: give the folder of a run.")
    config = read_json_of(config_path, dict, "ctxvision train")
    examples = _read_optional(run / "evaluation" / "examples.json", list, "ctxvision evaluate")
    for number, example in enumerate(examples):
        _check_example(example, number, run / "evaluation" / "examples.json")
    html = page(
        config,
        records,
        examples,
        history=_read_optional(run / "logs" / "history.json", dict, "ctxvision train"),
        check=_read_optional(run / "visual_only" / "check.json", dict, "ctxvision train"),
        left_out=_read_optional(run / "measured" / "left_out.json", dict, "ctxvision evaluate"),
        times=_read_optional(run / "logs" / "times.json", list, "ctxvision train"),
        weights=_read_optional(run / "head" / "choice.json", dict, "ctxvision train").get(
            "member_weights", ()
        ),
    )
    target = run / "report.html"
    with atomic_path(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def _read_optional(path: Path, kind: type, command: str) -> Any:
    return read_json_of(path, kind, command) if path.is_file() else kind()


def _check_example(example: Any, number: int, path: Path) -> None:
    """Checks the keys, the kind and the picture, which must be inside the file for the page to open offline."""
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
