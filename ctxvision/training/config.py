"""Every setting of a run."""

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

from ctxvision._files import read_json
from ctxvision.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run; the defaults train on a CPU.

    Attributes:
        seed: of everything that is random.
        label_column: the column of `images.csv` that is learnt, or several separated by `|`.
        multi_label: a picture may have several labels, or none: sigmoid instead of softmax (section 4.2.3).
        image_size: side in pixels of the pictures that the towers see.
        phrase_backbone, visual_backbone: names or SavedModel folders, see `build_backbone`.
        embedding_dim: width of the phrase generator's bottleneck (64 in the method).
        text_dim: width of the text embedding (200 in the method).
        languages: the language filter: phrases in these are classes and context, the others prototypes only.
        min_class_count: pictures that a query needs to be a softmax class.
        min_phrase_count: pictures that a phrase needs to be retrieved as context.
        phrase_support: phrases are ranked by cosine · n / (n + phrase_support), n the pictures behind the prototype:
            one of few pictures is noisy, and would crowd out the others; 0 ranks by the cosine alone.
        full_softmax_up_to: up to so many classes the full softmax is computed, beyond it 512 are sampled.
        phrase_steps, visual_steps, text_steps, head_steps: training steps of each model. A visual encoder trained
            on a fraction f of the labels takes visual_steps · max(f, 1/4).
        batch_size: pictures a step; text_batch_size: pairs of queries a step.
        learning_rate: AdamW's at the start of a cosine decay.
        fractions: shares of the labelled pictures that the visual encoder is trained on, one encoder each; the
            largest is the one that the classifier uses.
        seeds: how many heads are trained for each row of a table.
    """

    seed: int = 0
    label_column: str = "label"
    multi_label: bool = False
    image_size: int = 48
    phrase_backbone: str = "resnet_mini"
    visual_backbone: str = "resnet_mini"
    embedding_dim: int = 64
    text_dim: int = 200
    languages: tuple[str, ...] = ("en",)
    min_class_count: int = 5
    min_phrase_count: int = 1
    phrase_support: float = 1.0
    full_softmax_up_to: int = 10000
    phrase_steps: int = 6000
    visual_steps: int = 4000
    text_steps: int = 1500
    head_steps: int = 1500
    batch_size: int = 64
    text_batch_size: int = 256
    learning_rate: float = 3e-3
    fractions: tuple[float, ...] = (0.1, 0.3, 1.0)
    seeds: int = 3

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(Config)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = hints[field.name]
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if typing.get_origin(kind) is tuple and isinstance(value, list):
                value = tuple(value)
            object.__setattr__(self, field.name, value)
            _check(field.name, value, kind)

    @classmethod
    def from_file(cls, path: str | Path, **overrides: Any) -> "Config":
        """Reads settings from a JSON object; `overrides` win over the file."""
        try:
            settings = read_json(path)
        except FileNotFoundError:
            raise InputError(f"config must be a file, got {str(path)!r}: check the path.") from None
        except ValueError as error:
            raise InputError(f"config must be JSON, got {str(path)!r} ({error}): mend the file.") from None
        if not isinstance(settings, dict):
            raise InputError(
                f'config must be a JSON object of settings, got {str(path)!r}: write {{"seed": 0}}.'
            )
        return cls.from_dict({**settings, **overrides})

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Config":
        """A `Config` from names and values; an unknown name is refused."""
        names = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in names:
                raise InputError(f"config has no setting {name!r}: use one of {', '.join(names)}.")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


def _check(name: str, value: Any, kind: Any) -> None:
    if kind is bool:
        if not isinstance(value, bool):
            raise InputError(f"{name} must be true or false, got {value!r}: correct the setting.")
    elif kind is int:
        lowest = 0 if name == "seed" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise InputError(
                f"{name} must be a whole number of at least {lowest}, got {value!r}: correct the setting."
            )
    elif kind is float:
        least = 0.0 if name == "phrase_support" else math.ulp(0.0)
        if not isinstance(value, float) or not math.isfinite(value) or value < least:
            rule = "of 0 or more" if not least else "above 0"
            raise InputError(f"{name} must be a finite number {rule}, got {value!r}: correct the setting.")
    elif kind is str:
        if not isinstance(value, str) or not value:
            raise InputError(f"{name} must be a text, got {value!r}: correct the setting.")
    elif name == "fractions":
        if not value or any(not isinstance(f, (int, float)) or not 0 < f <= 1 for f in value):
            raise InputError(
                f"fractions must be numbers above 0 and up to 1, got {value!r}: use (0.1, 0.3, 1.0)."
            )
    elif not isinstance(value, tuple) or not value or any(not isinstance(v, str) for v in value):
        raise InputError(f"{name} must be a list of language codes, got {value!r}: use ('en',).")
