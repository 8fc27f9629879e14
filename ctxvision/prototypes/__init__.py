"""The vocabulary and how its prototypes are made."""

from ctxvision.prototypes.builder import build_prototypes
from ctxvision.prototypes.phrase_table import PhraseTable

__all__ = ["PhraseTable", "build_prototypes"]
