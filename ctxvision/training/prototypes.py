"""Stage `prototypes`: every query of the log gets a place in the picture space (Eq. 2)."""

from ctxvision.prototypes import PhraseTable, build_prototypes
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run


def make_prototypes(run: Run, progress: Progress) -> None:
    """Writes the phrase table: all queries, those too that never were a softmax class."""
    log = run.data.query_log
    embeddings = run.query_embeddings("web")
    progress.update(0.8)
    prototypes, counts = build_prototypes(embeddings, log.pair_picture, log.pair_query, len(log.phrases))
    table = PhraseTable.from_arrays(log.phrases, prototypes, counts, log.languages)
    with run.finishing("prototypes", phrases=len(table)) as folder:
        table.save(folder / "table")
