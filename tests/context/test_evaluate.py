"""The figures of a context, checked by plain loops, and the card that shows them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.context.card import write_card
from ctxvision.context.quality import text_recall, true_queries
from ctxvision.training.loaded_data import LoadedData


@pytest.fixture
def context(tiny_run, tmp_path):
    return cv.Context(shutil.copytree(tiny_run.context.directory, tmp_path / "context"))


def test_figures_and_card(context, tiny_data, tiny_run):
    card = (context.directory / "README.md").read_text()
    assert "Not measured." in card and "| licence | not given |" in card
    assert "12; retrieval finds 8" in card and "en 8, es 4; retrieval finds en" in card
    records = cv.evaluate_context(context, tiny_data)
    found = {(record.split, record.metric): record.value for record in records}
    assert {split for split, _ in found} == {"test:easy", "test:hard"}
    rows = tiny_run.data.split("test:easy")
    told = context.describe(tiny_run.data.pictures("test:easy"), k=5)
    for k in (1, 3, 5):
        hits = [
            any(one.phrase in {query.text for query in queries} for one in phrases[:k])
            for phrases, queries in zip(told, rows.queries, strict=True)
        ]
        assert found["test:easy", f"hit@{k}"] == pytest.approx(np.mean(hits))
    assert 0 < found["test:easy", "mrr@5"] <= 1 and 0.25 <= found["test:easy", "cluster_accuracy"] <= 1
    card = (context.directory / "README.md").read_text()
    assert f"| {tiny_data.name} | test:easy | {100 * found['test:easy', 'hit@1']:.1f} |" in card
    assert len(json.loads((context.directory / "figures.json").read_text())) == len(records)


def test_the_card_escapes_text(context):
    path = context.directory / "context.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "licence": "one | <two>\nthree"}))
    write_card(cv.Context(context.directory))
    assert "| licence | one \\| &lt;two&gt; three |" in (context.directory / "README.md").read_text()


def test_text_recall_by_hand(context, tiny_data, tiny_run):
    """Each English query must rank its picture's other English query before the queries of other pictures."""
    data = LoadedData(tiny_data, 16)
    found = text_recall(context, data, "test:easy")
    table, kept = context.phrase_table, context.retrievable_ids()
    pairs = {
        (left.text, right.text)
        for queries in data.split("test:easy").queries
        for left in queries
        for right in queries
        if left != right and {left.language, right.language} == {"en"}
    }
    texts = context.embed_texts(list(table.phrases))
    places = []
    for left, right in sorted(pairs):
        scores = texts[kept] @ context.embed_texts([left])[0]
        target = scores[list(kept).index(table.ids([right])[0])]
        rivals = [
            score
            for row, score in zip(kept, scores)
            if table.phrases[row] != left and (left, table.phrases[row]) not in pairs
        ]
        places.append(sum(score > target for score in rivals))
    assert found["text_recall@1"] == pytest.approx(np.mean(np.array(places) < 1))


def test_no_query_is_true_without_queries_or_labels_on_web_pictures(tiny_data, monkeypatch):
    data = LoadedData(tiny_data, 16)
    rows = data.split("test:easy")
    silent = dataclasses.replace(rows, queries=[()] * len(rows))
    monkeypatch.setattr(data, "split", {"test:easy": silent}.__getitem__)
    assert true_queries(data, "test:easy") is None


def test_data_without_queries_and_labels(context, tmp_path):
    from tests.tiny_data import write_tiny_data

    folder = write_tiny_data(tmp_path / "data", web=4, labelled=4, test=4)
    lines = (folder / "images.csv").read_text().splitlines()
    kept = [f"{line.split(',')[0]},{line.split(',')[1]},,,," for line in lines[1:]]
    (folder / "images.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    with pytest.raises(
        cv.InputError, match="data must have queries or labels to judge phrases by, got neither"
    ):
        cv.evaluate_context(context, folder)
    assert not (context.directory / "figures.json").exists()
