"""Every setting of a run."""

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

from ctxvision._files import read_json
from ctxvision.errors import InputError

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    # Fewer pictures than the defaults are made for, so fewer steps.
    "demo": {
        "image_size": 40,
        "phrase_steps": 4000,
        "visual_steps": 700,
        "head_steps": 400,
        "min_class_count": 3,
    },
    "paper": {
        "image_size": 299,
        "phrase_backbone": "resnet101",
        "visual_backbone": "inception_v3",
        "embedding_dim": 64,
        "visual_dim": 1024,
        "phrase_scale": 1.0,
        "text_dim": 200,
        "context_phrases": 3,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "phrase_steps": 1_015_625,
        "visual_steps": 500_000,
        "text_steps": 1_000_000,
    },
}
# Settings that may be 0.
FROM_ZERO = ("seed", "visual_dim", "context_phrases", "phrase_support")


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run; the defaults train on a CPU.

    Attributes:
        seed: of everything that is random.
        label_column: the column of `images.csv` that is learnt, or several separated by `|`.
        multi_label: a picture may have several labels, or none: sigmoid instead of softmax (section 4.2.3).
        image_size: side in pixels of the pictures that the towers see.
        phrase_backbone, visual_backbone: names, `.keras` files or SavedModel folders, see `build_backbone`. SavedModels
            stay as they are: their features are computed once, and only what lies on top of them learns.
            The visual one may be "shared": the phrase generator's, which then is run once for both, and the same at each of
            `fractions`; unfreezing it would move pictures away from the phrases' prototypes.
        phrase_pixels, visual_pixels: what a `.keras` file or SavedModel wants its pixels to be, see `build_backbone`.
        phrase_table: folder made by `build_phrases`, whose phrases are the vocabulary in the stead of the queries' own;
            `phrase_backbone` is then the picture tower of the same two-tower model, and no queries are needed.
        embedding_dim: width of the phrase generator's bottleneck (64 in the method).
        visual_dim: width of a linear mapping on top of the visual backbone's features (1024 in the method); 0: none.
        phrase_scale: of the cosine logits of queries (Eq. 1 is scale 1, which learns slowly).
        text_dim: width of the text embedding (200 in the method).
        languages: the language filter: phrases in these are classes and context, the others prototypes only.
        min_class_count: pictures that a query needs to be a softmax class.
        min_phrase_count: pictures that a phrase needs to be retrieved as context.
        phrase_support: phrases are ranked by cosine · n / (n + phrase_support), n the pictures behind the prototype:
            one of few pictures is noisy, and would crowd out the others; 0 ranks by the cosine alone.
        context_phrases: phrases a picture whose plain average is the context (3 in the method); 0: how many, and how
            weighted, is chosen on `val`.
        full_softmax_up_to: up to so many classes the full softmax is computed, beyond it 512 are sampled.
        class_dtype: "float32" or "float16": how the vectors of the softmax classes are kept, see `ClassTable`.
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
    phrase_pixels: str = "0..255"
    visual_pixels: str = "0..255"
    phrase_table: str = ""
    embedding_dim: int = 64
    visual_dim: int = 0
    phrase_scale: float = 16.0
    text_dim: int = 200
    languages: tuple[str, ...] = ("en",)
    min_class_count: int = 5
    min_phrase_count: int = 1
    phrase_support: float = 1.0
    context_phrases: int = 0
    full_softmax_up_to: int = 10000
    class_dtype: str = "float32"
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
    def preset(cls, name: str, **overrides: Any) -> "Config":
        """The settings called `name`, but for `overrides`.

        Args:
            name: "small", the defaults: ConvNets of 0.3 M parameters at 48 pixels, for a CPU; "demo", the same with
                fewer steps, for the few pictures of the demo; or "paper", the method's own sizes: ResNet-101 and
                Inception v3 at 299 pixels with 1024-d visual features, 64-d queries of scale 1, 200-d text, 3
                phrases. The method's steps are not known: these are one pass over its 260 million pictures, and a
                hundred over 1.28 million labelled ones.

        Raises:
            InputError: there is no such preset, or no such setting.
        """
        if name not in PRESETS:
            raise InputError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}: choose one of them.")
        return cls.from_dict({**PRESETS[name], **overrides})

    @classmethod
    def from_file(cls, path: str | Path, preset: str = "small", **overrides: Any) -> "Config":
        """Reads settings from a JSON object; those it leaves out are the preset's, and `overrides` win over both."""
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
        return cls.preset(preset, **{**settings, **overrides})

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
        lowest = 0 if name in FROM_ZERO else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise InputError(
                f"{name} must be a whole number of at least {lowest}, got {value!r}: correct the setting."
            )
    elif kind is float:
        least = 0.0 if name in FROM_ZERO else math.ulp(0.0)
        if not isinstance(value, float) or not math.isfinite(value) or value < least:
            rule = "of 0 or more" if not least else "above 0"
            raise InputError(f"{name} must be a finite number {rule}, got {value!r}: correct the setting.")
    elif kind is str:
        if not isinstance(value, str) or not (value or name == "phrase_table"):
            raise InputError(f"{name} must be a text, got {value!r}: correct the setting.")
    elif name == "fractions":
        if not value or any(not isinstance(f, (int, float)) or not 0 < f <= 1 for f in value):
            raise InputError(
                f"fractions must be numbers above 0 and up to 1, got {value!r}: use (0.1, 0.3, 1.0)."
            )
    elif not isinstance(value, tuple) or not value or any(not isinstance(v, str) for v in value):
        raise InputError(f"{name} must be a list of language codes, got {value!r}: use ('en',).")
