"""For any data, training does what `data check` says."""

import random
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

import ctxvision as cv
from ctxvision.classifier.calibration import prior_calibration
from ctxvision.data import check_data, load_data
from ctxvision.errors import InputError
from tests.integration import any_data
from tests.tiny_data import COLOURS, tiny_settings

STEPS = {"phrase_steps": 1, "visual_steps": 1, "text_steps": 1, "head_steps": 1}


def settings_of(tiny_data, **changes):
    few = {**STEPS, "context_phrases": 0, "fractions": [1.0], "seeds": 1}
    return cv.Config.from_dict({**tiny_settings(tiny_data), **few, **changes})


def agrees(world, root, tiny_data, context):
    """Trains if the check allows it, and fails if check and training disagree. Returns why it was refused."""
    context = context if world.over_context else None
    sources, out = any_data.write(world, root), root / "run"
    config = settings_of(tiny_data, **world.settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            manifest = load_data(sources, config.label_column, config.merge_labels)
            needs = None if context else config.query_needs
            refused = check_data(manifest, config.multi_label, needs).refused
        except InputError as error:
            refused = [str(error)]
        try:
            cv.train(sources, out, config, context)
        except InputError as error:
            assert refused, f"data check said fit, training says {error}"
        else:
            assert not refused, f"trained, though data check said {refused}"
            assert (out / "export" / "1" / "saved_model.pb").is_file()
    return refused


def write(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)


@pytest.mark.filterwarnings("ignore:.*has no queries")
def test_folders_of_pictures_without_queries_or_test(tmp_path, tiny_data):
    for label, number in (("cat", 6), ("dog", 6), ("fox", 1)):
        for picture in range(number):
            write(tmp_path / "data" / label / f"{picture}.png", COLOURS["red" if label == "cat" else "blue"])
    random.seed(4)
    expected = random.random()
    random.seed(4)
    run = cv.train(f"folder:{tmp_path / 'data'}", tmp_path / "run", settings_of(tiny_data))
    assert random.random() == expected, "training has seeded the caller's random numbers"
    assert run.choice.k == 2  # all phrases of the vocabulary
    report = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "The data has no test pictures, so nothing was measured." in report
    with pytest.raises(InputError, match="data must have a split test to measure on, got web, train"):
        cv.evaluate(run, "table2")
    (answer,) = cv.predict(run.directory / "export", [tmp_path / "data" / "cat" / "0.png"])
    assert answer.top[0][0] in ("cat", "dog", "fox")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has no queries")
def test_one_picture_per_label_leaves_none_for_val(tmp_path, tiny_data, tiny_run):
    for label in COLOURS:
        write(tmp_path / "data" / "train" / label / "0.png", COLOURS[label])
        write(tmp_path / "data" / "test" / label / "0.png", COLOURS[label])
    settings = settings_of(tiny_data)
    run = cv.train(f"folder:{tmp_path / 'data'}", tmp_path / "run", settings, context=tiny_run.context)
    assert not len(run.data.split("val"))
    choice = run.choice
    assert (
        choice.member_weights == list(prior_calibration(4, terms=True).weights) and choice.uniform_share == 0
    )
    assert "No labelled picture is left for val" in (run.directory / "report.html").read_text(
        encoding="utf-8"
    )
    run.add_concept("square", words=["green square"])
    cv.export(run, tmp_path / "export", quantize="int8")
    run.remove_concept("square")
    cv.export(run, tmp_path / "export", context=False)


@pytest.mark.slow
def test_several_labels_with_few_pictures_and_an_unlabelled_val(tmp_path, tiny_data, tiny_run):
    rows = [("image", "split", "label", "queries")]
    for split, number in (("train", 4), ("val", 3), ("test", 3)):
        for i in range(number):
            write(tmp_path / f"{split}-{i}.png", COLOURS[("red", "blue")[i % 2]])
            label = "" if split == "val" else ("cat", "dog", "cat|dog")[i % 3]
            rows.append((f"{split}-{i}.png", split, label, ""))
    (tmp_path / "images.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    config = settings_of(tiny_data, multi_label=True)
    assert not check_data(load_data(tmp_path), True, None).refused
    run = cv.train(tmp_path, tmp_path / "run", config, tiny_run.context)
    assert run.choice.thresholds == [1.0, 1.0] and run.choice.balances is None
    assert "No labelled picture is left for val" in (run.directory / "report.html").read_text(
        encoding="utf-8"
    )
    cv.export(run, tmp_path / "export", quantize="int8")


@pytest.mark.slow
@settings(
    max_examples=18,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(world=any_data.worlds())
def test_any_data(world, tmp_path_factory, tiny_data, tiny_run):
    agrees(world, tmp_path_factory.mktemp("data"), tiny_data, tiny_run.context)
