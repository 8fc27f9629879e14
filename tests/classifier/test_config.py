import json

import pytest

import ctxvision as cv
from ctxvision.classifier.config import refuse_context_settings


def test_a_file_and_overrides(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"seed": 3, "fractions": [0.2, 1], "learning_rate": 1}))
    config = cv.Config.from_file(path, label_column="coarse_label")
    assert (config.seed, config.fractions, config.learning_rate) == (3, (0.2, 1), 1.0)
    assert config.label_column == "coarse_label"
    assert cv.Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"phrase_steps": -1}, "phrase_steps must be a whole number of at least 1, got -1"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 1, got True"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0, got nan"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0, got 0.0"),
        ({"fractions": [0.1, 2]}, r"fractions must be numbers above 0 and up to 1, got \(0.1, 2\)"),
        ({"languages": []}, "languages must be a list of language codes"),
        ({"phrase_backbone": ""}, "phrase_backbone must be a non-empty text, got ''"),
        ({"colour": 1}, "config must hold known settings, got 'colour': use one of seed, "),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(cv.InputError, match=sentence):
        cv.Config.from_dict(settings)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "config must be JSON"), ("[1]", "config must be a JSON object of settings")],
)
def test_bad_files(tmp_path, content, sentence):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(cv.InputError, match=sentence):
        cv.Config.from_file(tmp_path / "c.json")


def test_missing_file(tmp_path):
    with pytest.raises(cv.InputError, match="config must be a file, got .*none.json"):
        cv.Config.from_file(tmp_path / "none.json")


def test_shared_settings_apply_to_both_and_a_nested_one_wins():
    config = cv.Config.from_dict({"seed": 2, "phrase_steps": 7, "context": {"seed": 5}})
    assert (config.seed, config.context.seed, config.context.phrase_steps) == (2, 5, 7)


@pytest.mark.parametrize("settings", [{"phrase_steps": 3}, {"seed": 1, "context": {"seed": 1}}])
def test_context_settings_beside_a_context_are_refused(settings):
    with pytest.raises(cv.InputError, match="settings must be the run's own beside a context, got"):
        refuse_context_settings(settings)


def test_shared_settings_beside_a_context_are_the_runs():
    refuse_context_settings({"seed": 1, "image_size": 64, "head_steps": 5})
