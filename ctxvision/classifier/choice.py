"""What the head's stage has chosen on `val`."""

from typing import Any, NamedTuple

from ctxvision._files import read_json, write_json
from ctxvision.errors import InputError
from ctxvision.training.stages import Stages

STAGE = "head"
_FILE = "choice.json"


class Choice(NamedTuple):
    """The typed content of `head/choice.json`.

    Attributes:
        k: phrases a picture.
        weighting: of the phrases, see `ContextPooling`.
        balance: of the loss, see `train_head`.
        labels: the L labels in the order of the probabilities.
        tuning: what `PrototypeRetrieval.tune` found.
        member_weights: how much each member of the head counts, in the order of `ContextFusion.member_weights`.
        terms: the most terms of a label; 0: labels are not scored by terms.
        uniform_share: see `fit_calibration`; None under several labels a picture.
        thresholds: of each label under several labels a picture; None under one.
        precision: that the thresholds were fitted for.
        val_ece: expected calibration error on `val`, 0..1.
        val_loss: negative log likelihood on `val` in nats.
        val_ece_uncalibrated: the same before calibration; None under several labels.
        balances: each balance's quality on `val`; None of one label a picture.
    """

    k: int
    weighting: str
    balance: str
    labels: list[str]
    tuning: dict[str, Any]
    member_weights: list[float]
    terms: int
    val_ece: float
    val_loss: float
    uniform_share: float | None = None
    thresholds: list[float] | None = None
    precision: float | None = None
    val_ece_uncalibrated: float | None = None
    balances: dict[str, float] | None = None

    @property
    def index_settings(self) -> dict[str, int]:
        """Settings of the approximate search, arguments of `PrototypeRetrieval.index`."""
        chosen = self.tuning["chosen"]
        return {name: chosen[name] for name in ("num_lists", "probes") if name in chosen}


def read_choice(stages: Stages) -> Choice:
    """What a run's stage `head` has chosen.

    Raises:
        InputError: the stage is not done, or its file is damaged.
    """
    path = stages.folder(STAGE) / _FILE
    try:
        return Choice(**read_json(path))
    except (ValueError, TypeError) as error:
        raise InputError(f"{str(path)!r} is damaged ({error}): delete {STAGE}/ and train again.") from None


def write_choice(folder: Any, choice: Choice) -> None:
    """Writes it into the stage's folder; what is None is left out."""
    write_json(folder / _FILE, {name: value for name, value in choice._asdict().items() if value is not None})
