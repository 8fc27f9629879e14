"""The settings of a context."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from ctxvision.training.settings import Settings, preset, read_settings

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    # Fewer steps than the defaults, because the demo has fewer pictures.
    "demo": {"image_size": 40, "phrase_steps": 4000, "min_class_count": 3},
    "transfer": {"phrase_backbone": "inception_v3", "phrase_weights": "imagenet", "phrase_train": "none"},
    "paper": {
        "image_size": 299,
        "phrase_backbone": "resnet101",
        "embedding_dim": 64,
        "phrase_scale": 1.0,
        "text_dim": 200,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "phrase_steps": 1_015_625,
        "text_steps": 1_000_000,
    },
}


@dataclasses.dataclass(frozen=True)
class ContextConfig(Settings):
    """The settings of a context; the defaults train on a CPU.

    Attributes:
        seed: seed of all random numbers.
        image_size: side in pixels of the phrase generator's pictures; 0 takes the size of its backbone, see
            `image_size_of`.
        phrase_backbone: the phrase generator's ConvNet: a name, a `.keras` file or a SavedModel folder, see
            `build_backbone`. A SavedModel is frozen: its features are computed once, and only the bottleneck on top of
            them learns.
        phrase_weights, phrase_train: the weights of a backbone given by name, and which of them learn; see
            `visual_weights` and `visual_train` in `Config`.
        phrase_pixels: pixel range that a `.keras` file or SavedModel expects, see `build_backbone`.
        embedding_dim: width of the phrase generator's bottleneck (64 in the method).
        phrase_scale: factor of the cosine logits of queries (Eq. 1 has scale 1, which learns slowly).
        text_dim: width of the text embedding (200 in the method).
        languages: the language filter. Phrases in these languages are classes and context; other phrases have only
            prototypes.
        min_class_count: number of pictures that makes a query a softmax class.
        min_phrase_count: number of pictures that makes a phrase retrievable.
        phrase_support: phrases are ranked by cosine · n / (n + phrase_support), with n pictures behind the prototype. A
            prototype of few pictures is noisy and would displace others; 0 ranks by the cosine alone.
        full_softmax_up_to: largest number of classes with a full softmax; 512 classes are sampled above it.
        class_dtype: dtype of the class vectors, "float32" or "float16", see `ClassTable`.
        phrase_steps, text_steps: training steps of the phrase generator and of the text encoder.
        batch_size: pictures per step.
        text_batch_size: pairs of queries per step.
        learning_rate: AdamW's rate at the start of a cosine decay.

    Example:
        >>> config = cv.ContextConfig(phrase_backbone="resnet101", min_class_count=20)
        >>> cv.ContextConfig.preset("paper").phrase_scale
        1.0
    """

    FROM_ZERO: ClassVar[tuple[str, ...]] = ("seed", "image_size", "phrase_support")

    seed: int = 0
    image_size: int = 0
    phrase_backbone: str = "resnet_mini"
    phrase_weights: str | None = None
    phrase_train: str | None = None
    phrase_pixels: str | None = None
    embedding_dim: int = 64
    phrase_scale: float = 16.0
    text_dim: int = 200
    languages: tuple[str, ...] = ("en",)
    min_class_count: int = 5
    min_phrase_count: int = 1
    phrase_support: float = 1.0
    full_softmax_up_to: int = 10000
    class_dtype: str = "float32"
    phrase_steps: int = 6000
    text_steps: int = 1500
    batch_size: int = 64
    text_batch_size: int = 256
    learning_rate: float = 3e-3

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "ContextConfig":
        """Returns the settings of the preset `name` with `overrides`; see `Config.preset`."""
        return cls.from_dict({**preset(PRESETS, name), **overrides})

    @classmethod
    def from_file(cls, path: str | Path, preset: str = "small", **overrides: Any) -> "ContextConfig":
        """Reads settings from a JSON object; missing settings come from the preset, `overrides` replace both."""
        return cls.preset(preset, **{**read_settings(path), **overrides})
