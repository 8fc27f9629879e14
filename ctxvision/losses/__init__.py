"""Losses of the training models."""

from ctxvision.losses.sampled_softmax import log_uniform_sample, sampled_softmax_loss

__all__ = ["log_uniform_sample", "sampled_softmax_loss"]
