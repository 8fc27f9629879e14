"""The rows of the tables: what a method sees, and how its head joins that."""

from typing import NamedTuple

import numpy as np
import tf_keras as keras

from ctxvision.classifier.trained_head import trained_head
from ctxvision.evaluation.features import ALL, NO_LABEL_WORDS, Features, shuffled
from ctxvision.layers.context_fusion import STAGES


class Method(NamedTuple):
    """What a head is given.

    Attributes:
        sees: of "visual", "context", "query" (the query embedding) and "web" (see `WebFeatures`), in the order of
            `ContextFusion`'s inputs.
        fusion: "pool", or a joint head.
        terms: whether labels are scored by their own terms as well.
        vocabulary: where the context's phrases come from.
        shuffled: whether each picture gets another one's context and query embedding, in training and in test.
    """

    sees: tuple[str, ...]
    fusion: str = "pool"
    terms: bool = False
    vocabulary: str = ALL
    shuffled: bool = False

    @property
    def stages(self) -> tuple[int, ...]:
        """Hidden stages of each modality's own head; features of a ConvNet are alike, whoever has trained it."""
        return tuple(STAGES.get(part, STAGES["visual"]) for part in self.sees)

    @property
    def by_fraction(self) -> bool:
        """Whether the share of labelled pictures that encoders have seen makes a difference."""
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
    """Those of `METHODS` that the run allows: phrases enough without label words, and two ConvNets."""
    plain = features.table(NO_LABEL_WORDS)
    enough = plain is not None and features.run.context.num_retrievable(plain) >= features.chosen.k
    two = features.web.possible
    return {
        name: one
        for name, one in METHODS.items()
        if (enough or one.vocabulary != NO_LABEL_WORDS) and (two or "web" not in one.sees)
    }


def inputs_of(features: Features, method: Method, split: str, fraction: float, seed: int) -> list[np.ndarray]:
    """What a method's head is given of a split, one array a modality."""
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
) -> keras.Model:
    """A method's head, trained on these rows of `train`, by default all; see `trained_head`."""

    def inputs(split: str) -> list[np.ndarray]:
        return inputs_of(features, method, split, fraction, seed)

    terms = features.terms if method.terms else None
    return trained_head(features.run, inputs, seed, method.fusion, terms, rows, method.stages)
