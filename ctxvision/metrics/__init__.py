"""Metrics as plain NumPy functions."""

from ctxvision.metrics.classification import hit_at_k, mean_and_deviation, phrase_hits, top_k_accuracy

__all__ = ["hit_at_k", "mean_and_deviation", "phrase_hits", "top_k_accuracy"]
