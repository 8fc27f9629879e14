"""Computations of benchmarks from their measurements."""

import json

import numpy as np
import pytest

from ctxvision.data import load_data
from ctxvision.evaluation import few_shot
from ctxvision.metrics.records import load_records, select
from tools.benchmarks import batching, demo_seeds, fine_tuning, table1
from tools.benchmarks._retrieval.index import around, ladder
from tools.benchmarks._retrieval.records import recall, replaced
from tools.benchmarks._retrieval.rows import nearest, synthetic_queries, synthetic_rows


def test_recall_counts_the_first_k_in_any_order_and_no_others():
    nearest_ids = np.array([[4, 7, 9, 1], [0, 1, 2, 3]])
    found = np.array([[9, 5, 4, 7], [-1, -1, 2, 0]])
    assert recall(found, nearest_ids, 3) == (2 + 1) / 6
    assert recall(found, nearest_ids, 4) == (3 + 2) / 8


def test_replaced_drops_only_records_of_measured_parts():
    def record(rows, method, batch):
        return {"data": "synthetic", "rows": rows, "method": method, "batch": batch}

    old = [record(10, "ivf", 1), record(10, "ivf", 8), record(10, "exact", 1), record(20, "ivf", 1)]
    new = [record(10, "ivf", 32)]
    assert replaced(old, new) == [record(10, "exact", 1), record(10, "ivf", 32), record(20, "ivf", 1)]
    photos = {**record(10, "ivf", 1), "data": "photos"}
    assert replaced(old, [photos]) == [photos, *old]


def test_ladder_and_around_stay_within_their_bounds():
    assert ladder(1, 20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert ladder(10, 10) == [10]
    assert around("probes", 8, 3, 20) == [{"probes": value} for value in (8, 3, 4, 16, 20)]


def test_nearest_in_blocks_equals_a_single_sort(monkeypatch):
    monkeypatch.setattr("tools.benchmarks._retrieval.rows._ROWS_AT_A_TIME", 64)
    rows, queries = np.concatenate([*synthetic_rows(200)]), synthetic_queries(200)[0][:20]
    expected = np.argsort(-(queries.astype(np.float64) @ rows.astype(np.float64).T), axis=1)[:, :10]
    np.testing.assert_array_equal(nearest(rows, queries), expected)


def test_batching_parameters_follow_from_the_rows_of_one_thread():
    rates = {1: 100.0, 2: 180.0, 4: 240.0, 8: 250.0}
    rows = [{"batch": b, "threads": 1, "pictures_per_second": r, "p50_ms": 9.5} for b, r in rates.items()]
    rows.append({"batch": 1, "threads": 8, "pictures_per_second": 900.0, "p50_ms": 80.0})
    assert batching.parameters(rows, cores=3) == {
        "max_batch_size": 4,  # 240 lies within 5% of 250
        "batch_timeout_micros": 9500,
        "num_batch_threads": 3,
        "max_enqueued_batches": 60,
    }


def test_fine_tuned_encoders_are_pretrained_on_other_labels_alone(tmp_path):
    (tmp_path / "images").mkdir()
    rows = [(split, label) for split in ("web", "train", "test") for label in ("ant", "bee", "cow", "dog")]
    lines = [f"images/{split}-{label}.png,{split},{label},a query" for split, label in rows]
    (tmp_path / "images.csv").write_text("\n".join(["image,split,label,queries", *lines]), encoding="utf-8")
    others, own = (load_data(path).by_split for path in fine_tuning.halves(tmp_path, tmp_path / "folder"))
    assert others["train"].labels == [("bee",), ("dog",), ("bee",), ("dog",)]
    assert others["test"].labels == [("bee",), ("dog",)]
    assert own["train"].labels == own["test"].labels == [("ant",), ("cow",)]


def test_over_seeds_covers_figures_of_every_seed():
    key, other = ("table1", "seen", 0.1, "multimodal", "top1"), ("table1", "seen", 0.1, "multimodal", "top5")
    (row,) = demo_seeds.over_seeds([{key: 0.5, other: 0.9}, {key: 0.7}])
    assert row["fraction"] == 0.1 and row["metric"] == "top1" and row["values"] == [0.5, 0.7]
    assert row["mean"] == pytest.approx(0.6) and row["deviation"] == pytest.approx(0.02**0.5)


def test_thresholds_of_other_deals_reach_the_wanted_precision(multi_label_run):
    found = demo_seeds.precision_over_redraws(multi_label_run, deals=2)
    val, test = (
        sum(len(multi_label_run.data.label_targets(s)) for s in part)
        for part in (["val"], multi_label_run.data.test_splits)
    )
    assert (found["val"], found["test"], found["wanted"]) == (val, test, 0.8)
    assert 0.5 < found["least"] <= found["mean"] <= found["most"] <= 1


def test_a_suite_is_measured_and_its_file_written_from_the_run(run, monkeypatch, tmp_path):
    monkeypatch.setattr(few_shot, "SHOTS", (1,))
    monkeypatch.setattr(few_shot, "METHODS", {few_shot.BASE: few_shot.METHODS[few_shot.BASE]})
    monkeypatch.setattr(table1, "RESULTS", tmp_path)
    table1.main([str(run.directory), "tiny", "few-shot"])
    written = json.loads((tmp_path / "few-shot-tiny.json").read_text())
    assert written["commit"] == json.loads((run.directory / "config.json").read_text())["commit"]
    (row,) = (row for row in written["rows"] if row["metric"] == "top1" and row["split"] == "easy")
    assert (row["method"], row["shots"], row["fraction"], row["n"]) == ("linear_probe", 1, 0.5, 5)
    draws = select(load_records(run.directory / "metrics.json"), metric="top1", split="easy", shots=1)
    assert row["mean"] == pytest.approx(np.mean([draw.value for draw in draws]))
