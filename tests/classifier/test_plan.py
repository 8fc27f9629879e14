"""Estimates of a training, computed by hand, and constants compared with the files of results."""

import json
from pathlib import Path

import pytest
import tf_keras as keras

import ctxvision as cv
from ctxvision.training.costs import forward_flops
from ctxvision.training.devices import DEVICES, parse_devices

RESULTS = Path(__file__).parents[2] / "tools" / "benchmarks" / "results"
SMALL = cv.Config.preset("small", batch_size=128)


def figures(plan):
    return {row.what.split(":")[0]: row.value for row in plan.rows}


def test_flops_of_convolutions_and_matrices():
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(
        pixels
    )  # 8 · 8 positions, 3 · 3 · 3 · 4 products
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 4 · 4 positions, 3 · 3 · 4 products
    x = keras.layers.BatchNormalization()(x)
    inner = keras.Model(pixels, x)
    again = keras.Input((8, 8, 3))
    model = keras.Model(again, keras.layers.Dense(5)(keras.layers.Flatten()(inner(again))))  # 64 · 5 products
    assert forward_flops(model) == 2 * (64 * 108 + 16 * 36 + 64 * 5)


def test_a_plan_computed_by_hand():
    plan = cv.plan(queries=40e6, images=260e6, devices="v5e-64", config=SMALL)
    found = figures(plan)
    assert found["class table, on each device"] == 40e6 / 64 * (64 * 4 + 4)
    assert found["pictures as JPEG"] == pytest.approx(260e6 * 48 * 48 * 0.7)
    assert found["query embeddings of all pictures"] == 260e6 * 256
    assert found["n-grams of all phrases"] == 40e6 * 96
    # The default tower has 304,240 parameters and 25,021,440 products per picture.
    assert found["phrase generator, on each device"] == 16 * 304_240
    work = 3 * 2 * 25_021_440 * 128 / (64 * 197e12 * 0.3)
    assert found["phrase generator, forward and back"] == pytest.approx(work)
    shared = 2 * 4 * 304_240 / 200e9
    assert found["gradients between devices"] == pytest.approx(shared)
    # 128 pictures with 4 queries and 512 samples, sent both ways: first the rows, then their gradients.
    fetched = 4 * (128 * 4 + 512) * 64 * 4 / 200e9
    assert found["class rows between devices"] == pytest.approx(fetched)
    step = work + shared + fetched + found["class table"]
    assert found["phrases"] == pytest.approx(2_031_250 * step / 3600)
    assert plan.device_limit == 16e9 and plan.fits
    text = str(plan)
    assert "40,000,000 queries and 260,000,000 pictures of 48 pixels, on 64 × TPU v5e chip" in text
    assert "162.5 MB" in text and "it fits" in text and "No training has been run on a TPU" in text


def test_float16_and_a_training_that_does_not_fit():
    small = cv.plan(100e6, 1e6, "v5e-1", cv.Config.preset("small", class_dtype="float16"))
    large = cv.plan(100e6, 1e6, "v5e-1", SMALL)
    assert figures(small)["class table, on each device"] == 100e6 * 132
    assert small.fits and not large.fits and "it does not fit" in str(large)
    assert cv.plan(100e6, 1e6, "v5e-8", SMALL).fits, "the table is shared out"
    assert "gradients between devices" not in figures(large)


def test_a_cpu_takes_the_measured_time():
    one, two = (cv.plan(1000, 1e6, f"cpu-{cores}", SMALL) for cores in (1, 2))
    assert one.fits is None and "on 1 CPU cores" in str(one)
    key = "phrase generator, forward and back"
    assert figures(one)[key] == pytest.approx(2 * figures(two)[key])


def test_names_of_devices():
    assert parse_devices("V5E-64") == ("v5e", 64)
    assert parse_devices("v4-8") == ("v4", 4)  # TensorCores, two on a chip
    assert set(DEVICES) == {"v4", "v5e", "v5p", "v6e", "t4", "v100", "l4", "a100", "h100"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"devices": "v7-8"}, "devices must be one of cpu, v4, .* such as v5e-64, got 'v7-8'"),
        ({"devices": "v5e"}, "devices must be one of .* got 'v5e'"),
        (
            {"devices": "v4-7"},
            "devices of v4 must have an even number, .* got 'v4-7': write v4-8 for 4 chips",
        ),
        ({"queries": 1.5}, "queries must be a whole number of at least 2, got 1.5"),
        ({"queries": float("nan")}, "queries must be a whole number of at least 2, got nan"),
        ({"images": 0}, "images must be a whole number of at least 1, got 0"),
        (
            {"devices": "v5e-48"},
            "batch_size must be a multiple of the 48 devices, got 128: set batch_size to 144",
        ),
    ],
)
def test_refused_plans(changed, sentence):
    with pytest.raises(cv.InputError, match=sentence):
        cv.plan(**{"queries": 100, "images": 1000, "devices": "v5e-8", "config": SMALL, **changed})


def test_measured_constants_are_those_of_the_results():
    import sys

    module = sys.modules["ctxvision.classifier.plan"]
    steps = {row["what"]: row for row in json.loads((RESULTS / "steps.json").read_text())["rows"]}
    phrase = steps["phrase_step"]
    assert phrase["gflops_a_core_second"] == module.GFLOPS_A_CORE
    beside = phrase["peak_gb"] * 1e9 - phrase["resident_before_gb"] * 1e9 - 12 * phrase["parameters"]
    assert pytest.approx(beside / phrase["batch"] / 299**2, rel=0.02) == module.ACTIVATION_BYTES_A_PIXEL
    assert pytest.approx(1000 * steps["text_step"]["core_seconds"], rel=0.01) == module.TEXT_STEP_MS
    table = json.loads((RESULTS / "class_table.json").read_text())["rows"]
    (five,) = [row for row in table if row["classes"] == 5_000_000 and row["dtype"] == "float32"]
    assert pytest.approx(five["step_ms"], rel=0.01) == module.TABLE_STEP_MS
    built = json.loads((RESULTS / "build_prototypes.json").read_text())
    assert built["pairs_per_second"] == module.PAIRS_A_SECOND
    rows = json.loads((RESULTS / "retrieval.json").read_text())["records"]
    (ivf,) = [
        row
        for row in rows
        if row["data"] == "synthetic" and row["rows"] == 10_000_000 and row["method"] == "ivf"
        if row["batch"] == 1 and row["chosen"]
    ]
    assert pytest.approx(ivf["bytes_per_row"], abs=1) == module.INDEX_BYTES_A_ROW
    assert ivf["build_seconds"] == module.INDEX_SECONDS_AT_10M
