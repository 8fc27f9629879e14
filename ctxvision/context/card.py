"""The card of a context: its README.md, written from its settings and figures."""

from typing import Any

import numpy as np

from ctxvision._files import read_json
from ctxvision.context.context import TWO_TOWERS, Context, read_context
from ctxvision.layers.backbone import IMAGENET
from ctxvision.layers.pretrained import licence_of
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
    rows = [
        ("made from", _made_from(context, stored)),
        ("phrases", f"{live.sum():,}; retrieval finds {context.num_retrievable():,}"),
        ("languages", f"{languages}; retrieval finds {', '.join(context.languages)}"),
        ("picture tower", _tower(context)),
        ("embeddings", f"{context.config.embedding_dim}-d queries, {context.config.text_dim}-d texts"),
        ("licence", stored["licence"] or "not given"),
        ("made with", f"{versions}; commit {stored['commit'] or 'unknown'}"),
        ("fingerprint", f"`{context.fingerprint}`"),
    ]
    facts = "\n".join(f"| {name} | {value} |" for name, value in rows)
    text = f"""# {context.directory.resolve().name}

A ctxvision context. It predicts from pixels alone what people would search for to find a picture.

| | |
|---|---|
{facts}

## How good it is

{_figures(context)}

## Limits

- It finds phrases of its vocabulary alone. `ctxvision phrases add` adds a phrase from pictures.
- It knows pictures like those it was made from. Measure it on other pictures before you use it there.
- A phrase says what people search for, not what is true of the picture.

## Use

```console
$ ctxvision context describe CONTEXT picture.jpg
$ ctxvision train DATA --context CONTEXT --out RUN
$ ctxvision context export CONTEXT --to serving/tagger
```
"""
    (context.directory / "README.md").write_text(text, encoding="utf-8")


def _made_from(context: Context, stored: dict[str, Any]) -> str:
    name, pictures = stored["data"]["name"], context.stages.facts("generator")["pictures"]
    if context.kind == TWO_TOWERS:
        phrases = stored["made_from"]["phrases"]
        return f"a two-tower model and {phrases:,} phrases; embeddings are centred on the mean of {pictures:,} pictures of {name}"
    classes = len(context.classes)
    more = ", and query pairs of a log" if stored["made_from"].get("associations") else ""
    return f"{pictures:,} pictures of {name} and their queries{more}; {classes:,} queries were classes"


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


def _figures(context: Context) -> str:
    path = context.directory / FIGURES
    if not path.is_file():
        return (
            "Not measured. `ctxvision context evaluate CONTEXT DATA` measures it and writes the figures here."
        )
    figures = read_json(path)
    metrics = [metric for metric in _TITLES if any(row["metric"] == metric for row in figures)]
    splits = list(dict.fromkeys((row["data"], row["split"]) for row in figures))
    value = {(row["data"], row["split"], row["metric"]): row["value"] for row in figures}
    lines = [
        "In %. The context was trained on the split `web` of its own data, on no other pictures.",
        "",
        f"| data | split | {' | '.join(_TITLES[metric] for metric in metrics)} |",
        "|---" * (2 + len(metrics)) + "|",
    ]
    for data, split in splits:
        cells = [value.get((data, split, metric)) for metric in metrics]
        told = " | ".join("–" if cell is None else f"{100 * cell:.1f}" for cell in cells)
        lines.append(f"| {data} | {split} | {told} |")
    return "\n".join(lines)
