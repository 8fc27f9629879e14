"""Losses of the training models."""

from ctxvision.losses.known_labels import KnownLabels
from ctxvision.losses.sampled_softmax import log_uniform_sample, sampled_softmax_loss
from ctxvision.losses.weighted_cross_entropy import WeightedCrossEntropy

__all__ = ["KnownLabels", "WeightedCrossEntropy", "log_uniform_sample", "sampled_softmax_loss"]
