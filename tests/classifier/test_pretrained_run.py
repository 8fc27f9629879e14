"""Runs and contexts that start from a file of weights."""

import sys

import numpy as np
import pytest
import tf_keras as keras

import ctxvision as cv
from ctxvision.classifier.visual import train_visual
from ctxvision.cli import main
from ctxvision.layers import build_backbone
from ctxvision.training.progress import Progress
from tests.classifier.test_frozen_towers import over_a_context
from tests.fresh_process import run_fresh
from tests.layers.test_pretrained import go_offline
from tests.tiny_data import tiny_settings


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Makes weights of a `resnet_mini` that no seed gives."""
    keras.utils.set_random_seed(11)
    path = tmp_path_factory.mktemp("weights") / "mini.weights.h5"
    build_backbone("resnet_mini", 16).save_weights(path)
    return str(path)


def settings_of(data, weights, **changes):
    named = {"phrase_backbone": "resnet_mini", "visual_backbone": "resnet_mini", "visual_weights": weights}
    few = {
        "phrase_steps": 2,
        "text_steps": 2,
        "visual_steps": 30,
        "learning_rate": 0.02,
        "phrase_weights": weights,
    }
    return {**tiny_settings(data), **named, **few, **changes}


def trained(data, out, weights, **changes):
    run = over_a_context(data, out, settings_of(data, weights, **changes))
    train_visual(run, 1.0, Progress())
    return run


def kernels(backbone):
    return [layer.get_weights()[0] for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]


def changed(run, weights):
    given = kernels(build_backbone("resnet_mini", 16, weights=weights))
    return [
        not np.array_equal(a, b) for a, b in zip(given, kernels(run.visual_encoder(1.0).tower), strict=True)
    ]


def test_given_weights_are_frozen_by_default(tiny_data, tmp_path, weights):
    run = trained(tiny_data, tmp_path / "run", weights)
    assert run.config.visual_train == "none" and not any(changed(run, weights))
    assert "visual/1" not in run.stages.curves()
    train_visual(run, 0.5, Progress())
    files = [run.directory / "visual" / part / "weights.npz" for part in ("0.5", "1")]
    assert files[0].samefile(files[1])
    # Both towers have the same weights, so features of a split are computed once.
    run.visual_features("train", 1.0), run.query_embeddings("train")
    assert len(list((run.directory / "features").glob("backbone-*/train.npy"))) == 1


def test_the_last_stage_is_fine_tuned_after_the_head(tiny_data, tmp_path, weights):
    run = trained(tiny_data, tmp_path / "run", weights, visual_train="top")
    assert changed(run, weights) == [False] * 7 + [True] * 3
    reopened = cv.Run(run.directory, run.directory / "context")
    pictures = run.data.pictures("train")[:8]
    np.testing.assert_allclose(
        reopened.visual_encoder(1.0)(pictures), run.visual_features("train", 1.0)[:8], atol=1e-4
    )


@pytest.mark.slow
def test_a_stopped_fine_tuning_resumes_to_the_same_weights(tiny_data, tmp_path, weights, monkeypatch):
    whole = trained(tiny_data, tmp_path / "whole", weights, visual_train="all")
    run = over_a_context(tiny_data, tmp_path / "run", settings_of(tiny_data, weights, visual_train="all"))
    import ctxvision.classifier.visual as visual

    fit, calls = visual.fit_resumably, []

    def stopped(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **named)

    monkeypatch.setattr(visual, "fit_resumably", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_visual(run, 1.0, Progress())
    train_visual(run, 1.0, Progress())
    assert len(calls) == 4 and all(changed(run, weights))
    for one, other in zip(
        whole.visual_encoder(1.0).get_weights(), run.visual_encoder(1.0).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_fine_tuned_context_answers_after_it_is_opened_again(tiny_data, tmp_path, weights):
    config = cv.ContextConfig.from_dict(
        {
            name: value
            for name, value in settings_of(tiny_data, weights, phrase_train="top").items()
            if name in cv.ContextConfig.names()
        }
    )
    context = cv.train_context(tiny_data, tmp_path / "context", config)
    again = cv.Context(tmp_path / "context")
    assert again.phrase_generator.backbone == "resnet_mini"
    pictures = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(
        again.phrase_generator(pictures), context.phrase_generator(pictures), atol=1e-6
    )
    assert f"weights of {weights.rsplit('/', 1)[-1]}" in (tmp_path / "context" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"visual_weights": "/nowhere.h5"}, "visual_weights must be 'imagenet' or a file"),
        ({"phrase_weights": "/nowhere.h5"}, "phrase_weights must be 'imagenet' or a file"),
        ({"visual_backbone": "mobilenet"}, "visual_weights must be those of 'mobilenet_1.00_32'"),
        ({"phrase_backbone": "mobilenet"}, "phrase_weights must be those of 'mobilenet_1.00_32'"),
        ({"visual_train": "head"}, "visual_train must be one of none, top, all, got 'head'"),
        ({"visual_weights": None, "visual_train": "top"}, "visual_train must be left out for 'resnet_mini'"),
        ({"visual_backbone": "shared"}, "visual_weights must be left out for the backbone 'shared'"),
    ],
)
def test_bad_weights_leave_nothing_behind(tiny_data, tmp_path, weights, changes, sentence):
    settings = settings_of(tiny_data, weights, image_size=32, **changes)
    with pytest.raises(cv.InputError, match=sentence):
        cv.train(tiny_data, tmp_path / "run", cv.Config.from_dict(settings))
    assert not (tmp_path / "run").exists()


def test_imagenet_offline_on_the_command_line(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    go_offline(monkeypatch)
    (tmp_path / ".keras").mkdir()
    (tmp_path / "c.json").write_text('{"visual_backbone": "mobilenet", "visual_weights": "imagenet"}')
    status = main(
        ["train", str(tiny_data), "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "run")]
    )
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        status == 2
        and "no good file mobilenet_1_0_224_tf_no_top.h5 in" in told
        and not (tmp_path / "run").exists()
    )


KERAS_3 = """
import sys
import keras

given = keras.Input((16, 16, 3))
keras.Model(given, keras.layers.GlobalAveragePooling2D()(given)).save(sys.argv[1])
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="KerasHub, which brings Keras 3, needs Python 3.11")
def test_a_keras_file_of_keras_3_leaves_nothing_behind(tiny_data, tmp_path):
    done = run_fresh(KERAS_3, [tmp_path / "three.keras"], ("tensorflow", "keras"))
    assert done.returncode == 0, done.stderr
    for part in ("visual", "phrase"):
        settings = {**tiny_settings(tiny_data), f"{part}_backbone": str(tmp_path / "three.keras")}
        with pytest.raises(
            cv.InputError, match=f"{part}_backbone must be a .keras file that tf_keras .* reads"
        ):
            cv.train(tiny_data, tmp_path / "run", cv.Config.from_dict(settings))
        assert not (tmp_path / "run").exists()
