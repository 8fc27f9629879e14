"""A trained run: its classifier, and the concepts it is taught."""

import functools
from collections.abc import Sequence

import tensorflow as tf

from ctxvision.classifier import concepts
from ctxvision.classifier.assembly import assemble
from ctxvision.classifier.concept_store import Concept
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.models import ContextClassifier
from ctxvision.training.given_pictures import Images


class Run(RunFolder):
    """A run as `train` returns it; arguments, attributes and errors are those of `RunFolder`.

    Example:
        >>> run = cv.Run("runs/photos")
        >>> run.classifier.predict(pixels)["phrases"]
    """

    @functools.cached_property
    def classifier(self) -> ContextClassifier:
        """The end-to-end model: pixels to probabilities and phrases. Its head is trainable, its towers are frozen."""
        return self.build_classifier()

    def build_classifier(self, backend: str = "ivf", quantize: str | None = None) -> ContextClassifier:
        """The end-to-end model, see `assemble`; in a strategy's scope all of it is made anew."""
        # Variables belong to the scope that they are made in, and this run's towers may belong to another.
        owner = self._reopened() if tf.distribute.has_strategy() else self
        return assemble(owner, backend, quantize)

    def add_concept(
        self,
        name: str,
        images: Images | None = None,
        label: str | None = None,
        words: Sequence[str] = (),
    ) -> Concept:
        """Teaches the classifier a label from up to 50 pictures, words, or both; see `classifier.concepts.add_concept`."""
        self.__dict__.pop("classifier", None)
        return concepts.add_concept(self, name, images, label, words)

    def remove_concept(self, name: str) -> None:
        """Takes a concept away, as if it had never been added; see `classifier.concepts.remove_concept`."""
        self.__dict__.pop("classifier", None)
        concepts.remove_concept(self, name)
