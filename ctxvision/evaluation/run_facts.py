"""The facts about a run that an export stores."""

from typing import Any

from ctxvision._files import read_json
from ctxvision.classifier.context_check import STAGE as VISUAL_ONLY
from ctxvision.classifier.run import Run
from ctxvision.classifier.task import task_of
from ctxvision.layers.context_fusion import MEMBERS
from ctxvision.metrics.records import load_records, select, summary

_TOP1 = ("top1", "map")


def facts_of(run: Run, context: bool = True) -> dict[str, Any]:
    """Collects the training and the quality of a run.

    Args:
        run: a run whose stages are finished.
        context: whether the facts are about the head with context or the visual-only head.

    Returns:
        `member_weights` by the members' names and `uniform_share` (None with several labels a picture), see
        `fit_calibration`; `training`: data, settings, versions and the commit of the library's source tree (None
        outside of a source tree); `metrics`: rows of split, metric, mean, deviation and n over the seeds, of the
        model's method on the run's test data.
    """
    stored = read_json(run.directory / "config.json")
    check = run.stages.folder(VISUAL_ONLY) / "check.json"
    settled = run.choice._asdict() if context else read_json(check)
    training = {key: stored.get(key) for key in ("data", "settings", "versions", "commit")}
    training["data"] = {key: stored["data"][key] for key in ("name", "sha256")}
    return {
        "member_weights": _weights(settled["member_weights"]),
        "uniform_share": settled.get("uniform_share"),
        "training": training,
        "metrics": _metrics(run, "multimodal" if context else "visual_only"),
    }


def _weights(weights: list[float]) -> dict[str, float]:
    """Maps names of members to weights; an absent member has 0."""
    every = weights + [0.0] * (len(MEMBERS) - len(weights))
    return {name: round(weight, 4) for name, weight in zip(MEMBERS, every, strict=True)}


def _metrics(run: Run, method: str) -> list[dict[str, Any]]:
    path = run.directory / "metrics.json"
    records = load_records(path) if path.is_file() else []
    fraction = max(run.config.fractions)
    found = select(records, suite=task_of(run.config).suite, method=method, fraction=fraction)
    rows = summary([r for r in found if r.metric in _TOP1 and r.seed is not None], ("split", "metric"))
    return [{key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()} for row in rows]
