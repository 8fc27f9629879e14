"""Towers from KerasHub presets, converted to SavedModels in a process of their own."""

from ctxvision.kerashub.process import convert_preset, towers_of

__all__ = ["convert_preset", "towers_of"]
