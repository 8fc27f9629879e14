"""The features of a run's pictures that heads take as inputs."""

import numpy as np

from ctxvision.classifier.run_folder import RunFolder
from ctxvision.context.pooled import contexts_of
from ctxvision.vocabulary import PhraseTable


def context_vectors(
    run: RunFolder, split: str, k: int, weighting: str, table: PhraseTable | None = None
) -> np.ndarray:
    """Returns the context vector of every picture of a split, float32 [N, text_dim]; see `contexts_of`."""
    return contexts_of(run.context, run.query_embeddings(split), k, weighting, table)[0]


def pool_inputs(
    run: RunFolder, split: str, k: int, weighting: str, table: PhraseTable | None = None
) -> list[np.ndarray]:
    """Returns the inputs of the run's head for every picture of a split: visual features, context, query embedding."""
    visual = run.visual_features(split, max(run.config.fractions))
    return [visual, context_vectors(run, split, k, weighting, table), run.query_embeddings(split)]
