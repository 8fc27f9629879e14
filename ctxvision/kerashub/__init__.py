"""Converts KerasHub presets to SavedModels in a separate process."""

from ctxvision.kerashub.process import convert_preset, towers_of

__all__ = ["convert_preset", "towers_of"]
