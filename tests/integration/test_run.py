"""A trained run, used from Python."""

import csv
import dataclasses
import functools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.context.generator import class_numbers, phrase_model
from ctxvision.context.pooled import contexts_of
from ctxvision.evaluation import SUITES
from ctxvision.evaluation.methods import METHODS
from ctxvision.evaluation.table1 import COMPARED
from ctxvision.training.loaded_data import LoadedData
from tests.tiny_data import tiny_settings, write_tiny_data


def value(run, **keys):
    found = json.loads((run.directory / "metrics.json").read_text())
    return np.mean([r["value"] for r in found if all(r[k] == v for k, v in keys.items())])


def test_the_folder_holds_the_files_of_the_design(tiny_run):
    names = {path.name for path in tiny_run.directory.iterdir()}
    assert names >= {"config.json", "context", "table", "visual", "head", "visual_only"}
    assert names >= {"metrics.json", "report.html", "logs", "export"}
    assert (tiny_run.directory / "export" / "1" / "saved_model.pb").is_file()


def test_it_learnt_the_colours(tiny_run):
    assert value(tiny_run, method="multimodal", split="easy", metric="top1") > 0.9
    assert value(tiny_run, suite="phrases", split="easy", metric="hit@1") > 0.9


def test_every_row_of_the_table_is_there(tiny_run):
    found = [
        r for r in json.loads((tiny_run.directory / "metrics.json").read_text()) if r["suite"] == "table1"
    ]
    keys = {(r["method"], r["fraction"], r["seed"], r["split"], r["metric"]) for r in found}
    methods = tuple(METHODS)
    expected = {
        (m, f, s, split, metric)
        for m in methods
        for f in (0.5, 1.0)
        for s in (0, 1)
        for split in ("easy", "hard")
        for metric in ("top1", "top5")
    }
    gains = {
        (m, f, None, split, f"top1_over_visual_only{end}")
        for m in methods[1:]
        for f in (0.5, 1.0)
        for split in ("easy", "hard")
        for end in ("", "_low", "_high")
    } | {
        ("multimodal", f, None, split, f"top1_over_{base}{end}")
        for base in COMPARED
        for f in (0.5, 1.0)
        for split in ("easy", "hard")
        for end in ("", "_low", "_high")
    }
    assert keys == expected | gains and len(found) == len(expected | gains)


def test_wins_and_losses_are_counted_and_shown(tiny_run):
    found = json.loads((tiny_run.directory / "metrics.json").read_text())
    answers = [r for r in found if r["suite"] == "answers"]
    assert {(r["split"], r["metric"]) for r in answers} == {
        (split, kind) for split in ("easy", "hard") for kind in ("win", "loss", "both_right", "both_wrong")
    }
    assert sum(r["value"] for r in answers if r["split"] == "easy") == pytest.approx(1.0)
    shown = json.loads((tiny_run.directory / "evaluation" / "examples.json").read_text())
    for example in shown:
        right = tuple(example[m]["label"] == example["truth"] for m in ("multimodal", "visual_only"))
        expected = {(True, False): "win", (False, True): "loss", (True, True): "both_right"}
        assert example["kind"] == expected.get(right, "both_wrong")


def test_phrases_are_judged_by_web_labels_if_test_pictures_have_no_queries(tiny_run, monkeypatch):
    """A phrase of `web` then stands for the label of most of its pictures."""
    from ctxvision.context import quality

    data = tiny_run.data
    web, test = data.split("web"), data.split("test:easy")
    labels = [(f"{queries[0].text.split()[0]} label",) for queries in web.queries]
    labels[0] = ("blue label",)  # one wrong label among many
    silent = dataclasses.replace(test, queries=[()] * len(test.paths))
    monkeypatch.setattr(data, "split", {"test:easy": silent}.__getitem__)
    monkeypatch.setitem(data.manifest.by_split, "web", dataclasses.replace(web, labels=labels))
    truth = quality.true_queries(tiny_run.data, "test:easy")
    assert truth[0] == {"red square", "ripe tomato", "rojo"}
    unlabelled = dataclasses.replace(web, labels=[()] * len(web.paths))
    monkeypatch.setitem(data.manifest.by_split, "web", unlabelled)
    assert quality.true_queries(tiny_run.data, "test:easy") is None


def test_all_queries_have_a_prototype_but_only_english_ones_are_context(tiny_run):
    table = tiny_run.context.phrase_table
    assert len(table) == 12 and set(table.languages) == {"en", "es"}
    assert "rojo" in list(table.phrases)
    outputs = tiny_run.classifier.predict(tiny_run.data.pictures("test:easy"), verbose=0)
    assert {p.decode() for p in outputs["phrases"].ravel()} <= {
        phrase for phrase, language in zip(table.phrases, table.languages, strict=True) if language == "en"
    }


def test_queries_that_only_have_a_prototype_never_enter_the_class_table(tiny_run):
    log, classes = tiny_run.data.query_log, class_numbers(tiny_run.data.query_log, tiny_run.context.config)
    assert {phrase for phrase, number in zip(log.phrases, classes, strict=True) if number < 0} == {
        "rojo",
        "verde",
        "azul",
        "amarillo",
    }
    trained = json.loads((tiny_run.context.directory / "generator" / "done.json").read_text())["classes"]
    assert trained == classes.max() + 1 == 8
    model = phrase_model(tiny_run.context.phrase_generator, trained, tiny_run.context.config)
    assert model.class_table.table.shape == (8, 64)
    assert len(tiny_run.context.phrase_table) == 12


def test_a_prototype_is_the_mean_embedding_of_its_pictures(tiny_run):
    embeddings = tiny_run.query_embeddings("web")
    rows = [
        i
        for i, queries in enumerate(tiny_run.data.split("web").queries)
        if "rojo" in {q.text for q in queries}
    ]
    mean = embeddings[rows].mean(axis=0)
    (row,) = tiny_run.context.phrase_table.ids(["rojo"])
    np.testing.assert_allclose(
        tiny_run.context.phrase_table.prototypes[row], mean / np.linalg.norm(mean), atol=1e-5
    )


def test_the_table_holds_the_ngrams_of_its_phrases(tiny_run):
    table = cv.PhraseTable.load(tiny_run.directory / "table")
    expected = tiny_run.context.text_encoder(tf.constant(list(table.phrases)))
    np.testing.assert_allclose(tiny_run.context.text_embeddings(np.arange(12)), expected, atol=1e-6)
    assert table.ngrams.ids.dtype == np.uint16 and table.text_embeddings is None
    names = {path.name for path in (tiny_run.context.directory / "text").iterdir()}
    assert names == {"weights.npz", "encoder.json", "done.json"}


def test_quantised_tables_answer_nearly_the_same(tiny_run):
    pixels = tf.constant(tiny_run.data.pictures("test:hard"))
    expected = tiny_run.build_classifier("exact")(pixels)
    for quantize in ("float16", "int8"):
        model = tiny_run.build_classifier("ivf", quantize)
        assert model.phrase_embeddings.rows.dtype == tf.uint16, "n-grams are integers already"
        np.testing.assert_allclose(model(pixels)["probabilities"], expected["probabilities"], atol=0.02)
    with pytest.raises(cv.InputError, match="quantize must be one of float16, int8, got 'int4'"):
        tiny_run.build_classifier("ivf", "int4")


def test_the_export_tells_how_it_was_trained(tiny_run, tmp_path):
    config = json.loads((tiny_run.directory / "config.json").read_text())
    for context, method in ((True, "multimodal"), (False, "visual_only")):
        version = (
            tiny_run.directory / "export" / "1" if context else cv.export(tiny_run, tmp_path, context=False)
        )
        told = json.loads((version / "assets" / "ctxvision.json").read_text())
        assert told["training"]["settings"] == config["settings"]
        assert told["training"]["data"] == {key: config["data"][key] for key in ("name", "sha256")}
        assert told["training"]["commit"] == config["commit"]
        assert list(told["member_weights"]) == ["visual", "context", "query", "terms"]
        assert any(told["member_weights"][name] for name in ("context", "query", "terms")) == context
        found = {(row["split"], row["metric"]): row for row in told["metrics"]}
        assert set(found) == {("easy", "top1"), ("hard", "top1")}
        expected = value(tiny_run, suite="table1", method=method, split="hard", metric="top1", fraction=1.0)
        assert found["hard", "top1"]["mean"] == pytest.approx(expected, abs=1e-4)
        assert found["hard", "top1"]["n"] == 2


@pytest.mark.parametrize("backend", ["ivf", "scann"])
def test_twelve_phrases_are_searched_exactly_whatever_the_backend(tiny_run, backend):
    choice = json.loads((tiny_run.directory / "head" / "choice.json").read_text())
    assert choice["tuning"]["exact"] is True and choice["tuning"]["chosen"] == {}
    described = json.loads((tiny_run.directory / "export/1/assets/ctxvision.json").read_text())
    assert (described["retrieval"], described["needs"]) == ("ivf", [])
    pixels = tf.constant(tiny_run.data.pictures("test:hard"))
    expected = tiny_run.build_classifier("exact")(pixels)
    found = tiny_run.build_classifier(backend)(pixels)
    np.testing.assert_array_equal(found["phrase_ids"], expected["phrase_ids"])
    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])


def test_the_assembled_model_agrees_with_the_tables_features(tiny_run):
    """The head of the tables, over features computed once, equals the head in the end-to-end model."""
    choice, queries = tiny_run.choice, tiny_run.query_embeddings("test:hard")
    context, ids = contexts_of(tiny_run.context, queries, choice.k, choice.weighting)
    visual = tiny_run.visual_features("test:hard", 1.0)
    outputs = tiny_run.classifier(tf.constant(tiny_run.data.pictures("test:hard")))
    np.testing.assert_array_equal(outputs["phrase_ids"], ids)
    expected = tiny_run.classifier.fuse(tf.constant(visual), tf.constant(context), tf.constant(queries))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def test_the_classifier_is_rebuilt_in_a_strategys_scope(tiny_run):
    """The run already has towers, which were made outside of the scope."""
    pixels, labels = tiny_run.data.pictures("train")[:16], tiny_run.data.label_ids("train")[:16]
    expected = tiny_run.classifier.predict(pixels, verbose=0)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = tiny_run.build_classifier()
        model.compile("adam", "sparse_categorical_crossentropy")
    found = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(found["phrases"], expected["phrases"])
    assert np.isfinite(model.fit(pixels, labels, batch_size=8, verbose=0).history["loss"]).all()


def test_the_same_call_again_keeps_everything(tiny_run, tiny_data, capsys):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.directory.rglob("*.npz")}
    cv.train(tiny_data, tiny_run.directory, cv.Config.from_dict(tiny_settings(tiny_data)))
    assert {path: path.stat().st_mtime_ns for path in tiny_run.directory.rglob("*.npz")} == before
    assert "context/generator: done before, kept" in capsys.readouterr().err


def test_a_run_made_with_other_settings_is_refused(tiny_run, tiny_data):
    with pytest.raises(
        cv.InputError, match="out must be a new folder or a run made with the same settings, .* seed"
    ):
        cv.train(tiny_data, tiny_run.directory, cv.Config.from_dict({**tiny_settings(tiny_data), "seed": 5}))


def test_a_run_made_from_other_data_is_refused(tiny_run, tiny_data, tmp_path):
    other = write_tiny_data(tmp_path / "data", web=8, labelled=8, test=4)
    with pytest.raises(cv.InputError, match="where data differ"):
        cv.train(other, tiny_run.directory, cv.Config.from_dict(tiny_settings(tiny_data)))


def test_bad_data_leaves_nothing_behind(tiny_data, tmp_path):
    with pytest.raises(cv.InputError, match="images.csv"):
        cv.train(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_smaller_than_k(tiny_run, tiny_data, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(tiny_run.directory, copy)
    shutil.rmtree(copy / "head")
    context = copy / "context" / "context.json"
    stored = json.loads(context.read_text())
    stored["settings"]["min_phrase_count"] = 1000
    context.write_text(json.dumps(stored))
    settings = {**tiny_settings(tiny_data), "min_phrase_count": 1000}
    with pytest.raises(
        cv.InputError, match="queries must include at least 3 with 1000 pictures or more in en, got 0"
    ):
        cv.train(tiny_data, copy, cv.Config.from_dict(settings))


def test_too_few_softmax_classes(tiny_data, tmp_path):
    settings = {**tiny_settings(tiny_data), "min_class_count": 1000, "visual_steps": 1, "fractions": [1.0]}
    with pytest.raises(
        cv.InputError,
        match="queries must include at least 2 with 1000 pictures or more in en, got 0: give more pictures, or lower",
    ):
        cv.train(tiny_data, tmp_path / "run", cv.Config.from_dict(settings))


def test_no_run(tmp_path):
    with pytest.raises(cv.InputError, match="run must be a folder made by training"):
        cv.Run(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {}}'])
def test_a_damaged_run(tmp_path, tiny_data, content):
    (tmp_path / "config.json").write_text(content)
    for open_run in (lambda: cv.Run(tmp_path), lambda: cv.train(tiny_data, tmp_path)):
        with pytest.raises(cv.InputError, match="config.json of run .* is damaged .*: train a new run"):
            open_run()


def test_an_unfinished_run(tiny_run, tmp_path):
    (tmp_path / "config.json").write_text((tiny_run.directory / "config.json").read_text())
    with pytest.raises(cv.InputError, match="must have the finished stage 'visual/1'"):
        _ = cv.Run(tmp_path).visual_encoder(1.0)


def test_weights_of_another_architecture(tiny_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(tiny_run.directory, copy)
    np.savez(copy / "visual" / "1" / "weights.npz", np.zeros(3))
    with pytest.raises(
        cv.InputError, match="must have the shapes of visual_encoder, got another architecture"
    ):
        _ = cv.Run(copy).visual_encoder(1.0)


def test_evaluate_with_bad_arguments(tiny_run):
    with pytest.raises(cv.InputError, match="suite must be one of table1, .*all, got 'table9'"):
        cv.evaluate(tiny_run, "table9")
    with pytest.raises(cv.InputError, match="seeds must be at least 1, got 0"):
        cv.evaluate(tiny_run, seeds=0)
    with pytest.raises(cv.InputError, match="trainable_min must be at least 1, got 0"):
        cv.evaluate(tiny_run, trainable_min=0)


def test_all_leaves_out_suites_without_data_and_the_report_gives_the_reason(tiny_run, tmp_path, monkeypatch):
    copy = shutil.copytree(tiny_run.directory, tmp_path / "run")
    for name in {*SUITES} - {"multi-label", "zero-shot"}:
        monkeypatch.delitem(SUITES, name)
    cv.evaluate(copy, "all", seeds=1)
    records = json.loads((copy / "metrics.json").read_text())
    assert any(r["suite"] == "zero-shot" for r in records)
    left_out = json.loads((copy / "measured" / "left_out.json").read_text())
    assert (
        list(left_out) == ["multi-label"]
        and "needs a run trained with several labels" in left_out["multi-label"]
    )
    assert "– left out" in (copy / "report.html").read_text()


@pytest.mark.slow
def test_more_seeds_and_fractions_train_only_what_is_missing(tiny_run, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(tiny_run.directory, copy)
    measured = json.loads((copy / "metrics.json").read_text())
    before = [
        r for r in measured if "over" not in r["metric"] and (r["suite"], r["fraction"]) != ("table1", 0.5)
    ]
    heads = {path: path.stat().st_mtime_ns for path in (copy / "measured" / "table1").rglob("*.npz")}
    # One fraction that the run has, and one that it does not have.
    few = functools.partial(SUITES["table1"], fractions=(0.3, 1.0))
    monkeypatch.setitem(SUITES, "table1", few)
    cv.evaluate(copy, "table1", seeds=3)
    after = json.loads((copy / "metrics.json").read_text())
    assert all(r in after for r in before)
    table = [r for r in after if r["suite"] == "table1"]
    assert {r["fraction"] for r in table} == {0.3, 1.0}
    assert (copy / "visual" / "0.3" / "done.json").is_file()
    assert sum(r["seed"] == 2 for r in table) > 0
    assert heads and all(path.stat().st_mtime_ns == time for path, time in heads.items())


@pytest.mark.slow
def test_the_table_has_five_fractions(tiny_run, tmp_path):
    copy = shutil.copytree(tiny_run.directory, tmp_path / "run")
    cv.evaluate(copy, "table1", seeds=1)
    table = [r for r in json.loads((copy / "metrics.json").read_text()) if r["suite"] == "table1"]
    assert {r["fraction"] for r in table} == {0.1, 0.3, 0.5, 0.7, 1.0}
    assert all((copy / "visual" / f / "done.json").is_file() for f in ("0.1", "0.3", "0.7"))


def test_a_single_undecodable_picture_in_a_hundred_is_left_out(tmp_path):
    folder = write_tiny_data(tmp_path / "data", web=200, labelled=8, test=4)
    (folder / "images" / "web-7.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="web"):
        data = LoadedData(folder, 16)
        pictures = data.pictures("web")
    assert len(pictures) == len(data.split("web").paths) == 199
    assert data.query_log.pair_picture.max() == 198


def test_a_tenth_of_each_label_is_held_out_without_a_val_split(tiny_run):
    data = tiny_run.data
    train, val = data.split("train").paths, data.split("val").paths
    assert len(val) == 8 and len(train) == 40 and not set(val) & set(train)
    assert np.bincount(data.label_ids("val")).tolist() == [2, 2, 2, 2]


def test_smaller_fractions_are_part_of_larger_ones(tiny_run):
    small, large = (set(tiny_run.data.fraction_of("train", f)) for f in (0.2, 0.5))
    assert small < large and len(large) == 20


def test_curves_go_to_tensorboard_and_history(tiny_run):
    assert list((tiny_run.context.directory / "logs" / "generator").glob("events.out.tfevents.*"))
    history = json.loads((tiny_run.directory / "logs" / "history.json").read_text())
    assert set(history) == {"context/generator", "context/text", "visual/0.5", "visual/1"}
    assert history["context/generator"]["loss"][-1] < history["context/generator"]["loss"][0]


def test_the_manifest_can_be_moved_with_a_demo_run(tiny_data):
    with open(tiny_data / "images.csv", encoding="utf-8") as file:
        assert sum(1 for _ in csv.reader(file)) == 1 + 96 + 48 + 24 + 24
