"""Stage `prototypes`: every query of the log gets a place in the picture space (Eq. 2)."""

import numpy as np

from ctxvision.prototypes import build_prototypes
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.two_towers import take_table

BATCH = 8192


def make_prototypes(run: Run, progress: Progress) -> None:
    """Writes the phrase table: all queries, those too that never were a softmax class."""
    if run.config.phrase_table:
        take_table(run)
        return
    log = run.data.query_log
    embeddings = run.query_embeddings("web")
    progress.update(0.8)

    def pairs(start: int) -> tuple[list[str], np.ndarray, list[str]]:
        queries = log.pair_query[start : start + BATCH].tolist()
        pictures = log.pair_picture[start : start + BATCH]
        return [log.phrases[i] for i in queries], embeddings[pictures], [log.languages[i] for i in queries]

    batches = map(pairs, range(0, len(log.pair_query), BATCH))
    with run.finishing("prototypes") as folder:
        build_prototypes(batches, folder / "table")
