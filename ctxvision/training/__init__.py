"""Trains the parts of a run, stage by stage."""

from ctxvision.training.config import Config
from ctxvision.training.plan import Plan, plan
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.run_data import RunData
from ctxvision.training.two_towers import build_phrases
from ctxvision.training.vocabulary import (
    FoundPhrase,
    PhraseStats,
    add_phrase,
    list_phrases,
    phrase_stats,
    remove_phrases,
    search_phrases,
)

__all__ = [
    "Config",
    "FoundPhrase",
    "PhraseStats",
    "Plan",
    "Progress",
    "Run",
    "RunData",
    "add_phrase",
    "build_phrases",
    "list_phrases",
    "phrase_stats",
    "plan",
    "remove_phrases",
    "search_phrases",
]
