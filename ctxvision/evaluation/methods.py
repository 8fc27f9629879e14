"""The methods of the tables: their inputs and fusions."""

from typing import NamedTuple

import numpy as np

from ctxvision.classifier.trained_head import trained_head
from ctxvision.evaluation.features import ALL, NO_LABEL_WORDS, Features, shuffled
from ctxvision.layers import ContextFusion
from ctxvision.layers.context_fusion import STAGES


class Method(NamedTuple):
    """The inputs and the fusion of a head.

    Attributes:
        sees: "visual", "context", "query" (the query embedding) or "web" (see `WebFeatures`), in the order of the
            inputs of `ContextFusion`.
        fusion: "pool", or the name of a joint head.
        terms: whether the head also scores labels by their own terms.
        vocabulary: vocabulary of the context's phrases.
        shuffled: whether each picture gets the context and query embedding of another picture, in training and test.
    """

    sees: tuple[str, ...]
    fusion: str = "pool"
    terms: bool = False
    vocabulary: str = ALL
    shuffled: bool = False

    @property
    def stages(self) -> tuple[int, ...]:
        """The hidden stages of each modality's own head; "web" has those of "visual"."""
        return tuple(STAGES.get(part, STAGES["visual"]) for part in self.sees)

    @property
    def by_fraction(self) -> bool:
        """Whether the inputs depend on the share of labelled pictures that trained the encoders."""
        return "visual" in self.sees or "web" in self.sees


_ALL = ("visual", "context", "query")
METHODS = {
    "visual_only": Method(("visual",)),
    "text_only": Method(("context",)),
    "multimodal": Method(_ALL, terms=True),
    "multimodal_without_terms": Method(_ALL),
    "multimodal_concat": Method(("visual", "context"), fusion="concat"),
    "shuffled_phrases": Method(_ALL, terms=True, shuffled=True),
    "web_features": Method(("web",)),
    "visual_web": Method(("visual", "web")),
    "multimodal_no_label_words": Method(_ALL, vocabulary=NO_LABEL_WORDS),
}


def methods_of(features: Features) -> dict[str, Method]:
    """Returns the methods that the run allows.

    `multimodal_no_label_words` needs enough phrases without label words, and methods with "web" need two ConvNets.
    """
    plain = features.table(NO_LABEL_WORDS)
    enough = plain is not None and features.run.context.num_retrievable(plain) >= features.chosen.k
    two = features.web.possible
    return {
        name: one
        for name, one in METHODS.items()
        if (enough or one.vocabulary != NO_LABEL_WORDS) and (two or "web" not in one.sees)
    }


def inputs_of(features: Features, method: Method, split: str, fraction: float, seed: int) -> list[np.ndarray]:
    """Returns the inputs of a method's head for a split, one array per modality."""
    recipe = features.chosen._replace(vocabulary=method.vocabulary)
    parts = []
    for part in method.sees:
        if part == "visual":
            parts.append(features.visual(split, fraction))
            continue
        if part == "web":
            parts.append(features.web.of(split, fraction))
            continue
        found = features.context(split, recipe) if part == "context" else features.bottleneck(split)
        parts.append(shuffled(found, split, seed) if method.shuffled else found)
    return parts


def head_of(
    features: Features, method: Method, fraction: float, seed: int, rows: np.ndarray | None = None
) -> ContextFusion:
    """Trains a method's head on these rows of `train`, by default all; see `trained_head`."""

    def inputs(split: str) -> list[np.ndarray]:
        return inputs_of(features, method, split, fraction, seed)

    terms = features.terms if method.terms else None
    return trained_head(features.run, inputs, seed, method.fusion, terms, rows, method.stages)
