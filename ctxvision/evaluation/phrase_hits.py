"""Suite `phrases`: the hit rate of the first phrases."""

from ctxvision.classifier.run import Run
from ctxvision.context import pooled
from ctxvision.context.quality import quality_by_queries, true_queries
from ctxvision.evaluation.features import short_name
from ctxvision.metrics.records import Record, save_records

DEPTHS = (1, 3)


def measure_phrases(run: Run) -> list[Record]:
    """Writes `hit@1` and `hit@3` of the retrieved phrases on every test split with true queries.

    A phrase is a hit if it is a query of the picture or, if test pictures have no queries, if most of its web pictures
    have the picture's label.
    """
    records, depths = [], [depth for depth in DEPTHS if depth <= run.context.num_retrievable()]
    for split in run.data.test_splits:
        truth = true_queries(run.data, split)
        if truth is None:
            continue
        values = quality_by_queries(found_phrases(run, split, max(depths)), truth, depths)
        for k in depths:
            records.append(
                Record(
                    suite="phrases",
                    data=run.data.name,
                    method="phrase_generator",
                    vocabulary=int(run.context.phrase_table.live.sum()),
                    seed=run.config.seed,
                    split=short_name(split),
                    metric=f"hit@{k}",
                    value=values[f"hit@{k}"],
                )
            )
    save_records(run.directory / "metrics.json", records)
    return records


def found_phrases(run: Run, split: str, depth: int) -> list[list[str]]:
    """Returns the phrases found for a split, see `ctxvision.context.pooled.found_phrases`."""
    return pooled.found_phrases(run.context, run.query_embeddings(split), depth)
