"""Suite `zero-shot`: classification by the labels' words, without labelled pictures (section 4.3)."""

import itertools
from collections.abc import Callable

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.classifier.terms import place_terms, terms_of
from ctxvision.evaluation.features import ALL, ContextRecipe, Features, short_name
from ctxvision.evaluation.heads import Heads, Ranks
from ctxvision.evaluation.methods import METHODS, inputs_of
from ctxvision.metrics import ranks_of
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

# Candidates for `val`: recipes of the context, and shares of the text similarity in a term's score.
CONTEXTS = (ContextRecipe(ALL, 3, "uniform"), *(ContextRecipe(ALL, k, "similarity") for k in (5, 10, 20)))
TEXT_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def zero_shot(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Scores each label by its closest synset term.

    A term's place is its prototype if it is a phrase of the vocabulary, else the prediction of a model from text to
    query space. A term's score mixes two cosines: of its place and the picture's query embedding, and of its text
    embedding and the picture's context. `val` chooses the context from `CONTEXTS` and the mix from `TEXT_SHARES`. The
    mean score of a term over the pictures of `train` is subtracted, so that a term near every picture has no advantage.
    No label of `train` is used.

    - `zero_shot`: as above.
    - `zero_shot_mean_of_terms`: scores a label by the mean over its terms.
    - `zero_shot_prototypes`: the query embedding alone.
    - `zero_shot_phrases`: the picture's phrases alone.
    - `zero_shot_text_model`: the query embedding alone, with all terms placed by the text model.
    - `zero_shot_terms_in_vocabulary`: `zero_shot` among the labels with a term in the vocabulary, on their pictures;
      left out if there are none.
    - `multimodal`: the supervised head, with the visual encoder of the largest fraction.

    Returns:
        `top1` and `top5`, 0..1, and `share_of_supervised`, a row's top-1 divided by the mean supervised top-1 on the
        same pictures. Zero-shot rows have no seed, because nothing in them is random.
    """
    features = Features(run, progress)
    fraction = max(run.config.fractions)
    heads = Heads(features, "zero-shot", total=seeds)

    def supervised_ranks(seed: int) -> Ranks:
        def inputs(split: str) -> list[np.ndarray]:
            return inputs_of(features, METHODS["multimodal"], split, fraction, seed)

        return heads.ranks(f"multimodal-{fraction:g}", inputs, seed, "table1", terms=features.terms)

    supervised = [supervised_ranks(seed) for seed in range(seeds)]
    records = []
    for seed, ranks in enumerate(supervised):
        records += heads.accuracy(ranks, method="multimodal", fraction=fraction, seed=seed)
    for method, ranks in ranks_of_methods(features).items():
        asked = {split: places >= 0 for split, places in ranks.items() if places.max() >= 0}
        answers = {split: ranks[split][rows] for split, rows in asked.items()}
        records += heads.accuracy(answers, method=method)
        for split, places in answers.items():
            same = np.mean([(one[split][asked[split]] < 1).mean() for one in supervised])
            records.append(
                Record(
                    suite="zero-shot",
                    data=run.data.name,
                    method=method,
                    vocabulary=int(run.context.phrase_table.live.sum()),
                    split=short_name(split),
                    metric="share_of_supervised",
                    value=float((places < 1).mean() / same) if same else 0.0,
                )
            )
    return records


def ranks_of_methods(features: Features) -> dict[str, Ranks]:
    """Maps a method to the ranks of the true labels on every test split; -1 marks pictures outside of the method."""
    run, scores = features.run, ZeroShotScores(features)

    def on_val(choice: tuple[ContextRecipe, float]) -> float:
        return float((ranks_of(scores.mixed("val", *choice), features.labels("val")) < 1).mean())

    most = run.context.num_retrievable()
    contexts = [context for context in CONTEXTS if context.k <= most]
    context, share = max(itertools.product(contexts, TEXT_SHARES), key=on_val)
    methods: dict[str, Callable[[str], np.ndarray]] = {
        "zero_shot": lambda split: scores.mixed(split, context, share),
        "zero_shot_mean_of_terms": lambda split: scores.mixed(split, context, share, closest=False),
        "zero_shot_prototypes": lambda split: scores.mixed(split, context, 0.0),
        "zero_shot_phrases": lambda split: scores.mixed(split, context, 1.0),
        "zero_shot_text_model": scores.by_text_model,
    }
    found = {
        method: {split: ranks_of(score(split), features.labels(split)) for split in run.data.test_splits}
        for method, score in methods.items()
    }
    known = np.unique(scores.terms.labels[scores.placed.in_vocabulary])
    if len(known):
        found["zero_shot_terms_in_vocabulary"] = {
            split: _ranks_among(known, scores.mixed(split, context, share), features.labels(split))
            for split in run.data.test_splits
        }
    return found


class ZeroShotScores:
    """Scores of a run's labels by their terms, float [N, L].

    Args:
        features: features of the run.
    """

    def __init__(self, features: Features):
        run = features.run
        terms = terms_of(run.data.labels, run.data.manifest.label_terms)
        self.features, self.terms = features, terms
        self.placed = place_terms(run.context, terms, run.config.seed)

    def mixed(
        self, split: str, context: ContextRecipe, text_share: float, closest: bool = True
    ) -> np.ndarray:
        """Returns scores by cosines in query space, weight 1 − text_share, and in text space, weight text_share.

        The mean over the pictures of `train` is subtracted.
        """

        def cosines(split: str) -> np.ndarray:
            queries, contexts = self.features.bottleneck(split), self.features.context(split, context)
            return self.placed.scores(queries, contexts, text_share)

        return self.terms.per_label(cosines(split) - cosines("train").mean(axis=0), closest)

    def by_text_model(self, split: str) -> np.ndarray:
        """Returns scores by cosines in query space, with all terms placed by the text model; the mean is subtracted."""
        scores, usual = (self.features.bottleneck(one) @ self.placed.predicted.T for one in (split, "train"))
        return self.terms.per_label(scores - usual.mean(axis=0))


def _ranks_among(known: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the true label's rank among the known labels, or -1 if it is not one of them."""
    asked = np.isin(labels, known)
    ranks = np.full(len(labels), -1)
    if asked.any():
        ranks[asked] = ranks_of(scores[np.ix_(asked, known)], np.searchsorted(known, labels[asked]))
    return ranks
