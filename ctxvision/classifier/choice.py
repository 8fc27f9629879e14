"""The settings that the stage `head` chose on `val`."""

from typing import Any, NamedTuple

from ctxvision._files import read_json, write_json
from ctxvision.errors import InputError
from ctxvision.training.stages import Stages

STAGE = "head"
_FILE = "choice.json"


class Choice(NamedTuple):
    """The typed content of `head/choice.json`.

    Attributes:
        k: phrases per picture.
        weighting: weighting of the phrases, see `ContextPooling`.
        balance: balance of the loss, see `train_head`.
        labels: the L labels in the order of the probabilities.
        tuning: the result of `PrototypeRetrieval.tune`.
        member_weights: weight of each member of the head, in the order of `ContextFusion.member_weights`.
        terms: largest number of terms of a label; 0 if labels are not scored by terms.
        uniform_share: see `fit_calibration`; None for several labels per picture.
        thresholds: threshold of each label for several labels per picture; None for one.
        precision: precision for which the thresholds were fitted.
        val_ece: expected calibration error on `val`, 0..1.
        val_loss: negative log likelihood on `val` in nats.
        val_ece_uncalibrated: `val_ece` before calibration; None for several labels.
        balances: quality of each balance on `val`; None for one label per picture.
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
        """The settings of the approximate search, as arguments of `PrototypeRetrieval.index`."""
        chosen = self.tuning["chosen"]
        return {name: chosen[name] for name in ("num_lists", "probes") if name in chosen}


def read_choice(stages: Stages) -> Choice:
    """Reads the choice of a run's stage `head`.

    Raises:
        InputError: the stage is not finished, or its file is damaged.
    """
    path = stages.folder(STAGE) / _FILE
    try:
        return Choice(**read_json(path))
    except (ValueError, TypeError) as error:
        raise InputError(f"{str(path)!r} is damaged ({error}): delete {STAGE}/ and train again.") from None


def write_choice(folder: Any, choice: Choice) -> None:
    """Writes a choice into the stage's folder, without attributes that are None."""
    write_json(folder / _FILE, {name: value for name, value in choice._asdict().items() if value is not None})
