"""The settings of a run."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from ctxvision.context.config import PRESETS as CONTEXT_PRESETS
from ctxvision.context.config import ContextConfig
from ctxvision.data.training_check import QueryNeeds
from ctxvision.errors import InputError
from ctxvision.training.settings import Settings, preset, read_settings, refuse_unknown

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    # Fewer steps than the defaults, because the demo has fewer pictures.
    "demo": {"image_size": 40, "visual_steps": 700, "head_steps": 250},
    "transfer": {"visual_backbone": "inception_v3", "visual_weights": "imagenet", "visual_train": "none"},
    "paper": {
        "image_size": 299,
        "visual_backbone": "inception_v3",
        "visual_weights": "imagenet",
        "visual_train": "all",
        "visual_dim": 1024,
        "context_phrases": 3,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "visual_steps": 500_000,
    },
}


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of a run; the defaults train on a CPU.

    Attributes:
        seed: seed of all random numbers.
        label_column: the column of `images.csv` that is learnt, or several columns separated by `|`.
        multi_label: whether a picture may have several labels, or none: sigmoid instead of softmax (section 4.2.3).
        merge_labels: whether labels that look alike, such as "Cat" and "cat", are merged, see `with_merged_labels`.
        image_size: side in pixels of the visual encoder's pictures; 0 takes the size of its backbone, see
            `image_size_of`.
        visual_backbone: the visual encoder's ConvNet: a name, a `.keras` file or a SavedModel folder, see
            `build_backbone`. A SavedModel is frozen: its features are computed once, and only the layers on top of it
            learn. "shared" is the phrase generator's ConvNet, which runs once for both and is the same for each of
            `fractions`. It stays frozen, because training would move pictures away from the phrases' prototypes.
        visual_weights: "imagenet" or a file of weights, for a backbone given by name; random weights by default. See
            `build_backbone`.
        visual_train: which pre-trained weights learn: "none", "top" or "all", see `set_trainable`. By default,
            `visual_weights` are frozen, and all weights of a `.keras` file or of a random network learn.
        visual_pixels: pixel range that a `.keras` file or SavedModel expects, see `build_backbone`.
        visual_dim: width of a linear layer on top of the visual backbone's features (1024 in the method); 0 for none.
        languages: the language filter of phrases; None or empty takes the context's filter.
        context_phrases: number of phrases per picture whose plain average is the context (3 in the method); 0 takes ten
            phrases, weighted by similarity.
        visual_steps: training steps of the visual encoder; an encoder on a fraction f of the labels takes
            visual_steps · max(f, 1/4) steps, but at most 400 passes over its pictures.
        head_steps: training steps of a head; twice as many under `multi_label`.
        batch_size: pictures per step.
        learning_rate: AdamW's rate at the start of a cosine decay.
        fractions: shares of the labelled pictures; one visual encoder is trained on each, and the classifier uses the
            largest.
        seeds: number of heads that are trained for each row of a table.
        context: settings of the context that a run makes for itself if it is given none.

    Example:
        >>> config = cv.Config(visual_backbone="inception_v3", visual_weights="imagenet", seeds=5)
        >>> cv.Config.preset("paper").visual_dim
        1024
    """

    FROM_ZERO: ClassVar[tuple[str, ...]] = ("seed", "image_size", "visual_dim", "context_phrases")

    seed: int = 0
    label_column: str = "label"
    multi_label: bool = False
    merge_labels: bool = False
    image_size: int = 0
    visual_backbone: str = "resnet_mini"
    visual_weights: str | None = None
    visual_train: str | None = None
    visual_pixels: str | None = None
    visual_dim: int = 0
    languages: tuple[str, ...] | None = None
    context_phrases: int = 0
    visual_steps: int = 4000
    head_steps: int = 750
    batch_size: int = 64
    learning_rate: float = 3e-3
    fractions: tuple[float, ...] = (0.1, 0.3, 1.0)
    seeds: int = 3
    context: ContextConfig = ContextConfig()

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "Config":
        """Returns the settings of a preset with `overrides`.

        Args:
            name: a preset of both the run and its context:

                - "small": the defaults, ConvNets of 0.3 M parameters at 48 pixels, for a CPU.
                - "demo": the defaults with fewer steps, for the few pictures of the demo.
                - "transfer": for photographs. Both towers are a frozen Inception v3 with ImageNet weights.
                - "paper": the method's sizes. ResNet-101 and Inception v3 at 299 pixels, 1024-d visual features, 64-d
                  queries of scale 1, 200-d text, 3 phrases. The method's number of steps is not known; these steps are
                  one pass over 260 million pictures, and a hundred passes over 1.28 million labelled pictures.
            **overrides: settings of the run or of its context, see `from_dict`.

        Raises:
            InputError: the preset or a setting is unknown, or a value is not allowed.
        """
        return cls.from_dict({**preset(CONTEXT_PRESETS, name), **preset(PRESETS, name), **overrides})

    @classmethod
    def from_file(cls, path: str | Path, preset: str = "small", **overrides: Any) -> "Config":
        """Reads settings from a JSON object; missing settings come from the preset, `overrides` replace both."""
        return cls.preset(preset, **{**read_settings(path), **overrides})

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Config":
        """Creates the settings of a run and of the context that it makes from one dictionary.

        A setting of both, such as `seed` or `image_size`, applies to both. A dictionary under "context" overrides it
        for the context.

        Raises:
            InputError: a name is unknown, or a value is not allowed.
        """
        of_context = ContextConfig.names()
        refuse_unknown(settings, list(dict.fromkeys([*cls.names(), *of_context])))
        own = {name: value for name, value in settings.items() if name in cls.names()}
        shared = {n: value for n, value in settings.items() if n in of_context and value is not None}
        nested = own.pop("context", {})
        return cls(**own, context=ContextConfig.from_dict({**shared, **nested}))

    @property
    def query_needs(self) -> QueryNeeds:
        """The requirements on queries of the context that a run makes for itself."""
        of = self.context
        return QueryNeeds(of.languages, of.min_class_count, of.min_phrase_count, self.context_phrases or 1)

    def own_dict(self) -> dict[str, Any]:
        """Returns the run's own settings as JSON types, without the settings of its context."""
        return {name: value for name, value in self.to_dict().items() if name != "context"}


def refuse_context_settings(settings: dict[str, Any]) -> None:
    """Raises an InputError for settings that belong to a context, if a run is given a context."""
    own = Config.names()
    foreign = [name for name in settings if name == "context" or name not in own]
    if foreign:
        raise InputError(
            f"settings must be the run's own beside a context, got {', '.join(foreign)}, which belong to the context: "
            "leave them out, or leave the context out so that the run makes its own."
        )
