"""Suite `table1`: the gain of context at several qualities of the visual embedding (Table 1)."""

from collections.abc import Sequence

from ctxvision.classifier.run import Run
from ctxvision.evaluation.features import Features
from ctxvision.evaluation.heads import Heads, Ranks
from ctxvision.evaluation.methods import Method, inputs_of, methods_of
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

# Bases of `multimodal` beside `visual_only`.
COMPARED = ("text_only", "multimodal_concat", "multimodal_without_terms", "web_features", "visual_web")
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 1.0)


def table1(
    run: Run,
    progress: Progress,
    seeds: int,
    fractions: Sequence[float] = FRACTIONS,
    fine_tune: bool = True,
    only: Sequence[str] | None = None,
) -> list[Record]:
    """Trains a head for each method, fraction and seed on `train`, and measures it on every test split.

    - `multimodal`: the run's own head, a pool of picture, phrases, query embedding, and the labels' own terms.
    - `multimodal_without_terms`: `multimodal` without the labels' own terms.
    - `multimodal_concat`: the method's own joint head over picture and phrases (section 3.5).
    - `shuffled_phrases`: the control, `multimodal` with the phrases and the query embedding of another picture, in
      training and test.
    - `web_features`: the web pictures as plain pre-training, that is the phrase generator's ConvNet under a label head,
      without words. With `fine_tune` it is frozen or fine-tuned on the visual encoder's labelled pictures, whichever is
      better on `val`.
    - `visual_web`: a pool of `visual_only` and `web_features`.
    - `multimodal_no_label_words`: `multimodal_without_terms` without phrases that hold a word of a label's name or
      synset terms; left out if too few phrases remain.

    Args:
        run: a run whose stages are finished.
        progress: shows the suite's progress.
        seeds: number of heads for each row.
        fractions: fractions of visual pre-training; a frozen encoder has only the largest of the run's.
        fine_tune: whether `web_features` may be fine-tuned.
        only: the methods to measure, by default all that the run allows.

    Returns:
        `top1` and `top5`, 0..1, of each head; `top1_over_visual_only` of each method with the ends of its interval; for
        `multimodal` the same over each of `COMPARED`.
    """
    features = Features(run, progress, fine_tune=fine_tune)
    fractions = features.distinct(fractions)
    methods = {name: one for name, one in methods_of(features).items() if only is None or name in only}
    heads = Heads(features, "table1", total=len(fractions) * seeds * len(methods))
    records = []
    for fraction in fractions:
        found: dict[str, list[Ranks]] = {}
        for name, method in methods.items():

            def ranks_of(
                seed: int, name: str = name, method: Method = method, fraction: float = fraction
            ) -> Ranks:
                # A method without "visual" and "web" is the same at every fraction.
                kept_as = f"{name}-{fraction:g}" if method.by_fraction else name
                kept_as += "-fine-tuned" if "web" in method.sees and features.web.fine_tuned(fraction) else ""
                return heads.ranks(
                    kept_as,
                    lambda split: inputs_of(features, method, split, fraction, seed),
                    seed,
                    fusion=method.fusion,
                    terms=features.terms if method.terms else None,
                    stages=method.stages,
                )

            found[name] = [ranks_of(seed) for seed in range(seeds)]
            for seed, ranks in enumerate(found[name]):
                records += heads.accuracy(ranks, method=name, fraction=fraction, seed=seed)
        for name, ranks_of_seeds in found.items():
            bases = ["visual_only"] if name != "visual_only" else []
            bases += [base for base in COMPARED if base in found] if name == "multimodal" else []
            for base in bases:
                records += heads.gain(ranks_of_seeds, found[base], base, method=name, fraction=fraction)
    return records
