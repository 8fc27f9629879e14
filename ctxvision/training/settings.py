"""Settings as frozen dataclasses: checks them, reads them from JSON and converts them to JSON."""

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ctxvision._files import read_json
from ctxvision.errors import InputError

LARGEST_SEED = 2**32 - 1

_Kind = TypeVar("_Kind", bound="Settings")


class Settings:
    """Base of the frozen dataclasses `ContextConfig` and `Config`.

    Attributes:
        FROM_ZERO: names of the numbers that may be 0; all others must be above 0.
    """

    FROM_ZERO: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for name in self.names():
            value, kind = getattr(self, name), hints[name]
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if isinstance(value, list):
                value = tuple(value)
            object.__setattr__(self, name, value)
            _check(name, value, kind, may_be_zero=name in self.FROM_ZERO)

    @classmethod
    def names(cls) -> list[str]:
        """Returns the names of the settings."""
        return [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls: type[_Kind], settings: dict[str, Any]) -> _Kind:
        """Creates settings by name; a missing setting takes its default.

        Raises:
            InputError: a name is unknown, or a value is not allowed.
        """
        refuse_unknown(settings, cls.names())
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[call-overload]


def refuse_unknown(settings: dict[str, Any], names: list[str]) -> None:
    """Raises an InputError for a setting that is not in `names`."""
    for name in settings:
        if name not in names:
            raise InputError(f"config must hold known settings, got {name!r}: use one of {', '.join(names)}.")


def read_settings(path: str | Path) -> dict[str, Any]:
    """Reads the JSON object of a settings file.

    Raises:
        InputError: the file is missing, is not JSON, or holds no JSON object.
    """
    try:
        settings = read_json(path)
    except FileNotFoundError:
        raise InputError(f"config must be a file, got {str(path)!r}: check the path.") from None
    except ValueError as error:
        raise InputError(f"config must be JSON, got {str(path)!r} ({error}): correct the file.") from None
    if not isinstance(settings, dict):
        raise InputError(f'config must be a JSON object of settings, got {str(path)!r}: write {{"seed": 0}}.')
    return settings


def preset(presets: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Returns the settings of a preset; raises an InputError for an unknown name."""
    if name not in presets:
        raise InputError(f"preset must be one of {', '.join(presets)}, got {name!r}: choose one of them.")
    return presets[name]


def _check(name: str, value: Any, kind: Any, may_be_zero: bool) -> None:
    if kind is bool:
        if not isinstance(value, bool):
            raise InputError(f"{name} must be true or false, got {value!r}: correct the setting.")
    elif kind is int:
        lowest = 0 if may_be_zero else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise InputError(
                f"{name} must be a whole number of at least {lowest}, got {value!r}: correct the setting."
            )
        if name == "seed" and value > LARGEST_SEED:
            raise InputError(f"seed must be at most {LARGEST_SEED}, got {value}: choose a smaller one.")
    elif kind is float:
        least = 0.0 if may_be_zero else math.ulp(0.0)
        if not isinstance(value, float) or not math.isfinite(value) or value < least:
            rule = "of 0 or more" if not least else "above 0"
            raise InputError(f"{name} must be a finite number {rule}, got {value!r}: correct the setting.")
    elif kind in (str, str | None):
        if value is None and kind is not str:
            return
        if not isinstance(value, str) or not value:
            raise InputError(f"{name} must be a non-empty text, got {value!r}: correct the setting.")
    elif name == "fractions":
        if (
            not isinstance(value, tuple)
            or not value
            or any(not isinstance(f, (int, float)) or not 0 < f <= 1 for f in value)
        ):
            raise InputError(
                f"fractions must be numbers above 0 and up to 1, got {value!r}: use (0.1, 0.3, 1.0)."
            )
    elif name == "languages":
        optional = value is None and type(None) in typing.get_args(kind)
        codes = isinstance(value, tuple) and value and all(isinstance(v, str) for v in value)
        if optional or codes:
            return
        raise InputError(f"{name} must be a list of language codes, got {value!r}: use ('en',).")
