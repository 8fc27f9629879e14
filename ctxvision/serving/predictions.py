"""Turns the answers of an export or a server into Python objects and text."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ctxvision.data.refused_pictures import READABLE, reason_of
from ctxvision.serving.asking import Answer
from ctxvision.serving.shares import joined_shares

SHOWN_PHRASES = 5


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The shares of a picture's parts in the probability of its first label; see `ctxvision.explain`.

    The shares sum to the label's score minus `prior_score`.

    Attributes:
        visual_share: share of the visual features.
        query_share: share of the query embedding, apart from the phrases.
        phrase_shares: share of each phrase, in the order of `Prediction.phrases`.
        groups: a number for each phrase, equal for phrases with nearly the same meaning.
        prior_score: the label's probability with every part absent.
    """

    visual_share: float
    query_share: float
    phrase_shares: list[float]
    groups: list[int]
    prior_score: float

    @property
    def sentence(self) -> str:
        """The shares in a sentence such as "picture +21.0, phrase generator +3.1, phrases +43.2 points"."""
        parts = {
            "picture": self.visual_share,
            "phrase generator": self.query_share,
            "phrases": sum(self.phrase_shares),
        }
        return ", ".join(f"{name} {100 * share:+.1f}" for name, share in parts.items()) + " points"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        path: path of the picture.
        label: the most probable label.
        score: probability of `label`.
        top: up to five labels (three with an explanation) with their probabilities, the most probable first.
        phrases: the phrases that people would search for to find the picture, with cosine scores, the best first.
        explanation: shares in the probability of `label`; None without `explain`.
        accepted: whether each label of `top` passes its threshold; None for a model with one label per picture.
    """

    path: str
    label: str
    score: float
    top: list[tuple[str, float]]
    phrases: list[tuple[str, float]]
    explanation: "Explanation | None" = None
    accepted: list[bool] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns a dict of JSON types, with named fields instead of pairs."""
        explanation = self.explanation
        shares = [None] * len(self.phrases) if explanation is None else explanation.phrase_shares
        accepted = self.accepted if self.accepted is not None else [None] * len(self.top)
        result: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "score": self.score,
            "top": [
                {"label": label, "score": score, **({} if passed is None else {"accepted": passed})}
                for (label, score), passed in zip(self.top, accepted, strict=True)
            ],
            "phrases": [
                {"phrase": phrase, "score": score, **({} if share is None else {"share": share})}
                for (phrase, score), share in zip(self.phrases, shares, strict=True)
            ],
        }
        if explanation is None:
            return result
        return {
            **result,
            "visual_share": explanation.visual_share,
            "query_share": explanation.query_share,
            "prior_score": explanation.prior_score,
        }


class Refused(NamedTuple):
    """A picture without an answer.

    Attributes:
        path: path of the picture.
        reason: the reason as a sentence.
    """

    path: str
    reason: str


def predictions_of(
    paths: Sequence[str], contents: Sequence[bytes], answer: Answer, explain: bool
) -> Iterator[Prediction | Refused]:
    """Yields a prediction for each picture of a request, or a `Refused` for an invalid picture.

    Args:
        paths, contents: the pictures.
        answer: the answer of the signature `explain` or `serving_default`.
        explain: whether the signature was `explain`.
    """
    for row, path in enumerate(paths):
        if not answer["valid"][row]:
            yield Refused(
                path, f"image must be a {READABLE} picture, got {path!r}, {reason_of(contents[row])}."
            )
            continue
        top = _pairs(answer["labels"][row], answer["scores"][row])
        phrases = _pairs(answer["phrases"][row], answer["phrase_scores"][row])
        accepted = answer["accepted"][row].tolist() if "accepted" in answer else None
        explanation = _explanation(answer, row) if explain else None
        yield Prediction(path, *top[0], top, phrases, explanation, accepted)


def format_prediction(prediction: Prediction, explain: bool = False) -> str:
    """Formats a prediction as aligned lines of text for a terminal, with five of its phrases.

    By default these are the nearest phrases with their scores. With `explain` these are the phrases with the largest
    shares, in percentage points; phrases with nearly the same meaning share a line. A star marks labels that pass their
    thresholds.

    Args:
        prediction: a prediction from `predict`.
        explain: whether to print the shares; ignored if the prediction has no explanation.
    """
    explanation = prediction.explanation if explain else None
    if explanation is None:
        rows = [(phrase, f"{score:6.2f}") for phrase, score in prediction.phrases[:SHOWN_PHRASES]]
    else:
        names = [phrase for phrase, _ in prediction.phrases]
        rows = [
            (", ".join(names[place] for place in places), f"{100 * share:+6.1f} points")
            for places, share in joined_shares(names, explanation.phrase_shares, explanation.groups)[
                :SHOWN_PHRASES
            ]
        ]
    width = max(len(name) for name, _ in [*prediction.top, *rows, ("phrases", "")])
    lines = [prediction.path]
    for place, (label, score) in enumerate(prediction.top):
        mark = "* " if prediction.accepted and prediction.accepted[place] else "  "
        lines.append(f"{mark}{label:<{width}}  {score:6.1%}  {'#' * round(20 * score)}".rstrip())
    if explanation is None:
        lines.append(f"  {'phrases':<{width}}   score")
    else:
        lines.append(f"  {prediction.label}: {explanation.sentence}")
    return "\n".join([*lines, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def _explanation(answer: Answer, row: int) -> Explanation:
    """Returns the explanation of a picture's first label."""
    places = [place for place, phrase in enumerate(answer["phrases"][row]) if phrase]
    return Explanation(
        visual_share=float(answer["visual_shares"][row, 0]),
        query_share=float(answer["query_shares"][row, 0]),
        phrase_shares=[float(answer["phrase_shares"][row, 0, place]) for place in places],
        groups=[int(answer["phrase_groups"][row, place]) for place in places],
        prior_score=float(answer["prior_scores"][row, 0]),
    )


def _pairs(names: np.ndarray, scores: np.ndarray) -> list[tuple[str, float]]:
    """Returns names with their scores, without empty places."""
    return [(name.decode(), float(score)) for name, score in zip(names, scores, strict=True) if name]
