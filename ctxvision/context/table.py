"""Stage `table`: computes the prototype of every query (Eq. 2) and hashes its n-grams."""

import numpy as np

from ctxvision.context.context import Context
from ctxvision.context.generator import features_of_web
from ctxvision.context.text import hash_ngrams
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.vocabulary import build_prototypes

BATCH = 8192


def make_table(context: Context, data: LoadedData, progress: Progress) -> None:
    """Writes the phrase table with all queries, including those that are not softmax classes."""
    log = data.query_log
    embeddings = features_of_web(context, data).of("queries", lambda: context.phrase_generator, "web")
    progress.update(0.8)

    def pairs(start: int) -> tuple[list[str], np.ndarray, list[str]]:
        queries = log.pair_query[start : start + BATCH].tolist()
        pictures = log.pair_picture[start : start + BATCH]
        return [log.phrases[i] for i in queries], embeddings[pictures], [log.languages[i] for i in queries]

    batches = map(pairs, range(0, len(log.pair_query), BATCH))
    with context.stages.finishing("table") as folder:
        build_prototypes(batches, folder, ngrams=hash_ngrams)
