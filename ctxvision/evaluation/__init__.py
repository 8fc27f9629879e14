"""Suites that measure a run; each suite checks one claim and returns records."""

from ctxvision.evaluation.suites import SUITES

__all__ = ["SUITES"]
