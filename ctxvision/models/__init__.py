"""The end-to-end model and the models that train its parts."""

from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.models.context_tagger import ContextTagger
from ctxvision.models.explanation import explain
from ctxvision.models.query_classifier import QueryClassifier
from ctxvision.models.siamese_text import SiameseText

__all__ = ["ContextClassifier", "ContextTagger", "QueryClassifier", "SiameseText", "explain"]
