"""Training steps of visual encoders."""

import pytest

import ctxvision as cv
from ctxvision.classifier.visual import encoder_steps


@pytest.mark.parametrize(
    ("fraction", "pictures", "steps"),
    [
        (1.0, 7200, 4000),  # 36 passes
        (0.1, 720, 1000),  # a quarter of the steps, 89 passes
        (1.0, 200, 1250),  # 400 passes of three steps and an eighth
        (0.1, 20, 125),
    ],
)
def test_few_pictures_are_passed_at_most_400_times(fraction, pictures, steps):
    assert encoder_steps(cv.Config(visual_steps=4000, batch_size=64), fraction, pictures) == steps
