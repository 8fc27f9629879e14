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
