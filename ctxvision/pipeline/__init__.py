"""The whole pipeline, from a data folder to a trained, measured, reported and exported run."""

from ctxvision.pipeline.evaluate import evaluate
from ctxvision.pipeline.export import export, export_context
from ctxvision.pipeline.report import write_report
from ctxvision.pipeline.train import train

__all__ = ["evaluate", "export", "export_context", "train", "write_report"]
