"""The vocabulary of phrases and its prototypes."""

from ctxvision.vocabulary.builder import build_prototypes
from ctxvision.vocabulary.ngrams import Ngrams
from ctxvision.vocabulary.phrase_table import PhraseTable
from ctxvision.vocabulary.phrase_table_writer import PhraseTableWriter

__all__ = ["Ngrams", "PhraseTable", "PhraseTableWriter", "build_prototypes"]
