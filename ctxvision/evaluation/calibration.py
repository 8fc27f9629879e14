"""Suite `calibration`: the accuracy of the classifier's probabilities or thresholds on test pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctxvision.classifier.calibration import calibrated, equal_weights, fit_calibration
from ctxvision.classifier.head import member_logits_of
from ctxvision.classifier.run import Run
from ctxvision.classifier.thresholds import fit_thresholds
from ctxvision.evaluation.features import Features, short_name
from ctxvision.evaluation.kept import Kept
from ctxvision.evaluation.methods import METHODS, head_of, inputs_of
from ctxvision.layers.context_fusion import MEMBERS
from ctxvision.metrics import calibration_error_by_chance, expected_calibration_error, reliability_bins
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress


def calibration(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Trains one head like the classifier's for each seed, calibrates it on `val` and measures every test split.

    With several test splits, split `all` holds all of their pictures.

    Returns:
        With one label a picture, methods `uncalibrated` (the mean of the members' logits) and `calibrated` have, for
        each seed, `ece` of the top label and `ece_by_chance` (see `calibration_error_by_chance`); `calibrated` also has
        `uniform_share`, fitted on `val`. With several labels, method `thresholds` has, for each seed, `ece`,
        `precision_at_threshold` and `recall_at_threshold` over all decisions; the thresholds aim at a precision of 0.8.
        Both have `weight_MEMBER`, the members' weights fitted on `val`, and the reliability bins that are not empty,
        over all seeds together: `bin00_confidence`, `bin00_accuracy`, `bin00_share`, ... up to `bin14_share`.
    """
    features = Features(run, progress)
    fraction = max(run.config.fractions)

    def record(**keys: Any) -> Record:
        vocabulary = int(run.context.phrase_table.live.sum())
        return Record(
            suite="calibration", data=run.data.name, fraction=fraction, vocabulary=vocabulary, **keys
        )

    records = []
    # (method, split) to the confidences and the correctness of each seed.
    decisions: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in range(seeds):
        progress.update(seed / seeds)
        found = member_logits_on_val_and_test(features, seed)
        val, several = run.data.label_targets("val"), run.config.multi_label
        fitted = fit_calibration(found["val"], val, terms=True)
        thresholds = fit_thresholds(calibrated(found["val"], fitted, True), val) if several else None
        for name, parts in _named(run.data.test_splits).items():
            logits = np.concatenate([found[split] for split in parts], axis=1)
            targets = np.concatenate([run.data.label_targets(split) for split in parts])
            keys = {"method": "thresholds" if several else "calibrated", "seed": seed, "split": name}
            settled = {f"weight_{member}": value for member, value in zip(MEMBERS, fitted.weights)}
            if thresholds is not None:
                probabilities = calibrated(logits, fitted, several)
                settled |= at_thresholds(probabilities, targets, thresholds)
                decisions.setdefault(("thresholds", name), []).append((probabilities, targets))
            else:
                settled["uniform_share"] = fitted.uniform_share
                for method, by in (("uncalibrated", equal_weights(len(logits))), ("calibrated", fitted)):
                    answered = calibrated(logits, by)
                    right = answered.argmax(axis=1) == targets
                    decisions.setdefault((method, name), []).append((answered.max(axis=1), right))
            records += [record(**keys, metric=metric, value=value) for metric, value in settled.items()]
    for (method, name), pairs in decisions.items():
        for seed, (confidence, correct) in enumerate(pairs):
            found_error = {"ece": expected_calibration_error(confidence, correct)}
            if not run.config.multi_label:
                found_error["ece_by_chance"] = calibration_error_by_chance(confidence)
            records += [
                record(method=method, seed=seed, split=name, metric=metric, value=value)
                for metric, value in found_error.items()
            ]
        confidences, truths = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*pairs))
        bins = reliability_bins(confidences, truths)
        for number in np.flatnonzero(bins.share):
            for what, values in bins._asdict().items():
                metric, value = f"bin{number:02d}_{what}", float(values[number])
                records.append(record(method=method, split=name, metric=metric, value=value))
    return records


def probabilities_on_val_and_test(features: Features, seed: int) -> dict[str, np.ndarray]:
    """Maps `val` and each test split to probabilities of a head like the classifier's, float64 [N, L].

    The probabilities are calibrated on `val`.
    """
    found = member_logits_on_val_and_test(features, seed)
    fitted = fit_calibration(found["val"], features.run.data.label_targets("val"), terms=True)
    several = features.run.config.multi_label
    return {split: calibrated(logits, fitted, several) for split, logits in found.items()}


def member_logits_on_val_and_test(features: Features, seed: int) -> dict[str, np.ndarray]:
    """Maps `val` and each test split to the logits of the members of a head like the classifier's, float32 [M, N, L].

    The first call trains the head; the run's folder keeps the logits.
    """
    run = features.run
    fraction, splits = max(run.config.fractions), ["val", *run.data.test_splits]

    def measure() -> dict[str, np.ndarray]:
        method = METHODS["multimodal"]
        head = head_of(features, method, fraction, seed)
        return {
            split: member_logits_of(head, inputs_of(features, method, split, fraction, seed))
            for split in splits
        }

    return Kept(run, "calibration").arrays(f"seed{seed}", measure)


def _named(splits: Sequence[str]) -> dict[str, Sequence[str]]:
    """Maps reported names to test splits: each split alone, and `all` if there are several."""
    each: dict[str, Sequence[str]] = {short_name(split): [split] for split in splits}
    return each | {"all": splits} if len(each) > 1 and "all" not in each else each


def at_thresholds(probabilities: np.ndarray, targets: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """Computes `precision_at_threshold` and `recall_at_threshold` over all decisions; no precision if nothing is accepted."""
    accepted = (probabilities >= thresholds) & (targets >= 0)
    right = targets[accepted].sum()
    recall = {"recall_at_threshold": float(right / max(1, (targets > 0).sum()))}
    return recall | ({"precision_at_threshold": float(right / accepted.sum())} if accepted.any() else {})
