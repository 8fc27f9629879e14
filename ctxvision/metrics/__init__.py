"""Metrics as plain NumPy functions."""

from ctxvision.metrics.classification import (
    hit_at_k,
    mean_and_deviation,
    phrase_hits,
    ranks_of,
    top_k_accuracy,
)
from ctxvision.metrics.intervals import Interval, paired_interval
from ctxvision.metrics.permutation import sign_flip_p_value

__all__ = [
    "Interval",
    "hit_at_k",
    "mean_and_deviation",
    "paired_interval",
    "phrase_hits",
    "ranks_of",
    "sign_flip_p_value",
    "top_k_accuracy",
]
