"""Trains the parts of a run, stage by stage."""

from ctxvision.training.config import Config
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.run_data import RunData

__all__ = ["Config", "Progress", "Run", "RunData"]
