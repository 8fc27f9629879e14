"""A trained run with its classifier and concepts."""

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
    """A run as `train` returns it; `RunFolder` describes arguments, attributes and errors.

    Example:
        >>> run = cv.Run("runs/photos")
        >>> answer = run.classifier.predict(pixels, verbose=0)
        >>> run.classifier.labels[answer["probabilities"][0].argmax()]
        'red label'
    """

    @functools.cached_property
    def classifier(self) -> ContextClassifier:
        """The end-to-end model from pixels to probabilities and phrases; its head is trainable, its towers frozen."""
        return self.build_classifier()

    def build_classifier(self, backend: str = "ivf", quantize: str | None = None) -> ContextClassifier:
        """Builds the end-to-end model, see `assemble`; in a strategy's scope, all its variables are new."""
        # A variable belongs to the scope in which it is made, and this run's towers may belong to another scope.
        owner = self._reopened() if tf.distribute.has_strategy() else self
        return assemble(owner, backend, quantize)

    def add_concept(
        self,
        name: str,
        images: Images | None = None,
        label: str | None = None,
        words: Sequence[str] = (),
    ) -> Concept:
        """Teaches the classifier a label from pictures, words, or both; see `classifier.concepts.add_concept`."""
        self.__dict__.pop("classifier", None)
        return concepts.add_concept(self, name, images, label, words)

    def remove_concept(self, name: str) -> None:
        """Removes a concept as if it had never been added; see `classifier.concepts.remove_concept`."""
        self.__dict__.pop("classifier", None)
        concepts.remove_concept(self, name)
