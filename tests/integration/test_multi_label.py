"""Several labels per picture, from the manifest to an exported model's answer."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision._files import read_json
from ctxvision.cli import main
from ctxvision.data.training_check import refused_labels
from ctxvision.training.loaded_data import LoadedData


def test_targets_unite_the_columns(multi_label_run):
    data = multi_label_run.data
    assert data.labels == ["blue label", "cold", "green label", "red label", "warm", "yellow label"]
    targets, rows = data.label_targets("train"), data.split("train").labels
    assert targets.dtype == np.float32 and targets.shape == (len(rows), 6)
    for target, row in zip(targets, rows):
        assert {data.labels[i] for i in np.flatnonzero(target)} == set(row) and len(row) == 2


def test_every_label_is_in_train_and_val_and_in_a_fraction(multi_label_run):
    data = multi_label_run.data
    assert (data.label_targets("train").sum(axis=0) > 0).all()
    assert data.label_targets("val").sum(axis=0).tolist() == [2, 4, 2, 2, 4, 2]  # a tenth of 12, rounded up
    few, more = data.fraction_of("train", 0.2), data.fraction_of("train", 0.6)
    assert set(few) < set(more)
    assert data.label_targets("train")[few].sum(axis=0).tolist() == [2, 4, 2, 2, 4, 2]


def test_a_label_that_only_accompanies_rarer_ones_is_in_every_fraction_and_in_train(tiny_data, tmp_path):
    """`b` and `c` are each rarer than `a`, and all pictures of `a` have one of them."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_data, folder)
    rows = (folder / "images.csv").read_text().splitlines()
    train = [row for row in rows if ",train," in row]
    labels = ["a|b", "a|b", "a|c", "a|c", "b", "c", "", ""]
    kept = [f"{row.split(',')[0]},train,{label},,," for row, label in zip(train, labels)]
    web = [row for row in rows if ",web," in row]
    (folder / "images.csv").write_text("\n".join([rows[0], *web, *kept]) + "\n")
    for seed in range(6):
        data = LoadedData(folder, 16, seed, multi_label=True)
        assert (data.label_targets("train").sum(axis=0) > 0).all() and len(data.split("val")) > 0
        few = data.fraction_of("train", 0.1)
        assert (data.label_targets("train")[few].sum(axis=0) > 0).all()
    (refused,) = refused_labels(LoadedData(folder, 16).manifest)
    assert "got a|b for images/train-0.png: correct the row or train with multi-label" in refused


def test_the_choice_on_val_is_written(multi_label_run):
    choice = read_json(multi_label_run.directory / "head" / "choice.json")
    tried = choice["balances"]
    assert set(tried) == {"none", "positive_weight", "focal"}
    assert choice["balance"] == max(tried, key=tried.get)
    assert len(choice["thresholds"]) == 6 and choice["precision"] == 0.8 and "uniform_share" not in choice
    check = read_json(multi_label_run.directory / "visual_only" / "check.json")
    assert check["metric"] == "map" and "points of mAP" in check["sentence"]


def test_the_model_gives_each_label_its_own_probability(multi_label_run):
    model = multi_label_run.classifier
    assert model.thresholds == read_json(multi_label_run.directory / "head" / "choice.json")["thresholds"]
    pictures = tf.constant(multi_label_run.data.pictures("test:easy"))
    probabilities = model(pictures)["probabilities"].numpy()
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.2
    targets = multi_label_run.data.label_targets("test:easy")
    accepted = probabilities >= np.array(model.thresholds)
    assert targets[accepted].mean() > 0.7 and accepted[targets > 0].mean() > 0.5
    told = cv.explain(model, pictures[:2], top=2)
    assert told["shares"].shape[:2] == (2, 2)


def test_exported_and_asked_from_the_command_line(multi_label_run, capsys):
    export, paths = multi_label_run.directory / "export", multi_label_run.data.split("test:easy").paths[:4]
    for explain in ([], ["--explain"]):
        assert main(["predict", str(export), *paths, "--json", *explain]) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        thresholds = dict(zip(multi_label_run.data.labels, multi_label_run.classifier.thresholds))
        for answer in answers:
            for top in answer["top"]:
                assert top["accepted"] == (np.float32(top["score"]) >= np.float32(thresholds[top["label"]]))
    assert any(top["accepted"] for answer in answers for top in answer["top"])
    assert main(["predict", str(export), paths[0]]) == 0
    out = capsys.readouterr().out
    assert any(line.startswith("* ") for line in out.splitlines())
    told = read_json(export / "1" / "assets" / "ctxvision.json")
    assert (
        told["thresholds"] is not None
        and told["uniform_share"] is None
        and told["member_weights"]["visual"] > 0
    )
    assert {(row["split"], row["metric"]) for row in told["metrics"]} == {("easy", "map"), ("hard", "map")}


def test_report_and_examples(multi_label_run):
    shown = read_json(multi_label_run.directory / "evaluation" / "examples.json")
    assert shown and all(", " in example["truth"] for example in shown)
    for example in shown:
        right = tuple(
            example[m]["label"] in example["truth"].split(", ") for m in ("multimodal", "visual_only")
        )
        kinds = {(True, False): "win", (False, True): "loss", (True, True): "both_right"}
        assert example["kind"] == kinds.get(right, "both_wrong")
    assert "Several labels a picture" in (multi_label_run.directory / "report.html").read_text()


def test_train_takes_the_switch(multi_label_run, tiny_data, tmp_path, capsys):
    """The command finds the finished run, so its settings equal those of the run."""
    settings = read_json(multi_label_run.directory / "config.json")["settings"]
    del settings["multi_label"], settings["label_column"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    data, out = str(tiny_data), str(multi_label_run.directory)
    command = ["train", data, "--out", out, "--config", str(tmp_path / "config.json")]
    command += ["--context", str(multi_label_run.context.directory)]
    assert main([*command, "--multi-label", "--label-column", "label|coarse_label"]) == 0
    assert main(command) == 2
    assert "label_column, multi_label differ" in capsys.readouterr().err


def test_an_unknown_column(tiny_data, tmp_path, capsys):
    command = ["train", str(tiny_data), "--out", str(tmp_path / "run"), "--multi-label"]
    assert main([*command, "--label-column", "label|kind"]) == 2
    assert "got 'kind'" in capsys.readouterr().err


def test_multi_label_must_be_true_or_false():
    with pytest.raises(cv.InputError, match="multi_label must be true or false, got 1"):
        cv.Config(multi_label=1)


def test_thresholds_must_fit_the_labels(multi_label_run):
    model = multi_label_run.classifier
    parts = (
        model.phrase_generator,
        model.retrieval,
        model.phrase_embeddings,
        model.visual_encoder,
        model.fusion,
    )
    with pytest.raises(ValueError, match="thresholds must have one value for each of the 6 labels, got 1"):
        cv.ContextClassifier(*parts, model.labels, model.pooling, [0.5])
