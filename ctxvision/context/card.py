"""The card of a context: its README.md, written from its settings and figures."""

from typing import Any

import numpy as np

from ctxvision._files import read_json
from ctxvision._templates import render
from ctxvision.context.context import TWO_TOWERS, Context, read_context
from ctxvision.layers.pretrained import IMAGENET, licence_of
from ctxvision.layers.saved_model_tower import tower_facts

FIGURES = "figures.json"
_LEARNT = {"none": "frozen", "top": "last stage fine-tuned", "all": "fine-tuned"}
_TITLES = {
    "hit@1": "hit@1",
    "hit@3": "hit@3",
    "hit@5": "hit@5",
    "hit@10": "hit@10",
    "mrr@10": "MRR@10",
    "text_recall@10": "text recall@10",
    "cluster_accuracy": "cluster accuracy",
}


def write_card(context: Context) -> None:
    """Writes the `README.md` of a finished context."""
    stored = read_context(context.directory)
    table = context.phrase_table
    live = np.asarray(table.live)
    counts = np.bincount(np.asarray(table.language_ids)[live], minlength=len(table.language_codes))
    languages = ", ".join(
        f"{table.language_codes[i]} {counts[i]:,}" for i in np.argsort(-counts, kind="stable") if counts[i]
    )
    versions = ", ".join(f"{name} {version}" for name, version in stored["versions"].items())
    figures = _figures(context)
    metrics = [metric for metric in _TITLES if any(metric in values for values in figures.values())]
    text = render(
        "ctxvision.context",
        "card.md.j2",
        name=context.directory.resolve().name,
        facts={
            "made from": _made_from(context, stored),
            "phrases": f"{live.sum():,}; retrieval finds {context.num_retrievable():,}",
            "languages": f"{languages}; retrieval finds {', '.join(context.languages)}",
            "picture tower": _tower(context),
            "embeddings": f"{context.config.embedding_dim}-d queries, {context.config.text_dim}-d texts",
            "licence": stored["licence"] or "not given",
            "made with": f"{versions}; commit {stored['commit'] or 'unknown'}",
        },
        fingerprint=context.fingerprint,
        metrics=[_TITLES[metric] for metric in metrics],
        figures=[
            {"data": data, "split": split, "shown": [_percent(values.get(metric)) for metric in metrics]}
            for (data, split), values in figures.items()
        ],
    )
    (context.directory / "README.md").write_text(text, encoding="utf-8")


def _made_from(context: Context, stored: dict[str, Any]) -> str:
    name, pictures = stored["data"]["name"], context.stages.facts("generator")["pictures"]
    if context.kind == TWO_TOWERS:
        phrases = stored["made_from"]["phrases"]
        made_from = f"a two-tower model and {phrases:,} phrases"
        return f"{made_from}; embeddings are centred on the mean of {pictures:,} pictures of {name}"
    classes = len(context.classes)
    more = ", and query pairs of a log" if stored["made_from"].get("associations") else ""
    return f"{pictures:,} pictures of {name} and their queries{more}; {classes:,} of the queries were classes"


def _tower(context: Context) -> str:
    config = context.config
    name = config.phrase_backbone.rsplit("/", 1)[-1]
    size = f"at {config.image_size} pixels"
    if copy := context.stages.facts("generator")["tower"]:
        facts = tower_facts(context.stages.folder("generator") / copy)
        told = [facts.get("source"), facts.get("license") and f"licence {facts['license']}"]
        more = ", ".join(text for text in told if text)
        return f"{name} {size}{f' ({more})' if more else ''}; `generator/` holds a copy"
    if not config.phrase_weights:
        return f"{name} {size}, trained from random weights"
    licence = licence_of(name) if config.phrase_weights == IMAGENET else ""
    weights = config.phrase_weights.rsplit("/", 1)[-1] + (f" (licence {licence})" if licence else "")
    return f"{name} {size}, weights of {weights}, {_LEARNT[config.phrase_train or 'none']}"


def _figures(context: Context) -> dict[tuple[str, str], dict[str, float]]:
    """Maps data and split to the values of metrics; empty before the context is measured."""
    path = context.directory / FIGURES
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in read_json(path) if path.is_file() else ():
        found.setdefault((row["data"], row["split"]), {})[row["metric"]] = row["value"]
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
