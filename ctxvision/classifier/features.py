"""What heads are given: features of a run's pictures."""

import numpy as np

from ctxvision.classifier.run_folder import RunFolder
from ctxvision.context.pooled import contexts_of
from ctxvision.vocabulary import PhraseTable


def context_vectors(
    run: RunFolder, split: str, k: int, weighting: str, table: PhraseTable | None = None
) -> np.ndarray:
    """float32 [N, text_dim]: the context of every picture of a split, see `contexts_of`."""
    return contexts_of(run.context, run.query_embeddings(split), k, weighting, table)[0]


def pool_inputs(
    run: RunFolder, split: str, k: int, weighting: str, table: PhraseTable | None = None
) -> list[np.ndarray]:
    """The inputs of the run's own head for every picture of a split: visual features, context, query embedding."""
    visual = run.visual_features(split, max(run.config.fractions))
    return [visual, context_vectors(run, split, k, weighting, table), run.query_embeddings(split)]
