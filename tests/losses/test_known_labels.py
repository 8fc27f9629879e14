"""The loss over verified labels against means computed by hand."""

import numpy as np
import pytest
import tf_keras as keras

from ctxvision.losses import KnownLabels, WeightedCrossEntropy

TRUTH = np.array([[1, -1, 0], [-1, -1, 1], [-1, -1, -1]], np.float32)
P = np.array([[0.7, 0.99, 0.2], [0.1, 0.9, 0.6], [0.5, 0.5, 0.5]], np.float32)
KNOWN = -np.log([0.7, 0.8, 0.6])  # known labels: 1 at 0.7, 0 at 0.2, 1 at 0.6


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (KnownLabels(keras.losses.BinaryCrossentropy()), KNOWN.mean()),
        (
            KnownLabels(keras.losses.BinaryFocalCrossentropy(gamma=2.0)),
            (KNOWN * np.square([0.3, 0.2, 0.4])).mean(),
        ),
        (WeightedCrossEntropy([2.0, 5.0, 3.0]), (KNOWN * [2, 1, 3]).mean()),
    ],
)
def test_the_mean_is_over_what_is_known(loss, expected):
    assert float(loss(TRUTH, P)) == pytest.approx(expected, rel=1e-5)
    again = type(loss).from_config(loss.get_config())
    assert float(again(TRUTH, P)) == pytest.approx(expected, rel=1e-5)


def test_where_all_is_known_it_is_the_loss_and_where_nothing_is_zero():
    plain = keras.losses.BinaryCrossentropy(from_logits=True)
    truth = np.maximum(TRUTH, 0)
    assert float(KnownLabels(plain)(truth, P)) == pytest.approx(float(plain(truth, P)), rel=1e-6)
    assert float(KnownLabels(plain)(-np.ones([2, 3]), P[:2])) == 0.0
