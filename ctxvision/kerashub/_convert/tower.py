"""What the converter knows of a tower before it saves the tower."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Tower(NamedTuple):
    """A tower that is to be saved."""

    call: Callable[[Any], dict[str, Any]]  # KerasHub's own code, for eager runs and tracing
    given: Any  # tf.TensorSpec of the input
    samples: Any  # a batch that checks the SavedModel
    tokenizer: Any  # None for pictures
    facts: dict[str, Any]  # for tower.json
