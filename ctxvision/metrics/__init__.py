"""Metrics as plain functions on NumPy arrays."""

from ctxvision.metrics.average_precision import (
    average_precision,
    interval_of_draws,
    map_draws,
    mean_average_precision,
)
from ctxvision.metrics.calibration import (
    Reliability,
    calibration_error_by_chance,
    expected_calibration_error,
    reliability_bins,
)
from ctxvision.metrics.classification import (
    hit_at_k,
    mean_and_deviation,
    phrase_hits,
    ranks_of,
    top_k_accuracy,
)
from ctxvision.metrics.clustering import cluster_accuracy
from ctxvision.metrics.intervals import Interval, paired_interval
from ctxvision.metrics.permutation import sign_flip_p_value
from ctxvision.metrics.precision_recall import (
    precision_at_recall,
    precision_recall_curve,
    recall_at_precision,
)
from ctxvision.metrics.rank_correlation import spearman
from ctxvision.metrics.ranking import filtered_ranks, mean_reciprocal_rank, word_overlap

__all__ = [
    "Interval",
    "Reliability",
    "average_precision",
    "calibration_error_by_chance",
    "cluster_accuracy",
    "expected_calibration_error",
    "filtered_ranks",
    "hit_at_k",
    "interval_of_draws",
    "map_draws",
    "mean_and_deviation",
    "mean_average_precision",
    "mean_reciprocal_rank",
    "paired_interval",
    "phrase_hits",
    "precision_at_recall",
    "precision_recall_curve",
    "ranks_of",
    "recall_at_precision",
    "reliability_bins",
    "sign_flip_p_value",
    "spearman",
    "top_k_accuracy",
    "word_overlap",
]
