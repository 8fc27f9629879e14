"""The last act of the demo: three pictures answered over gRPC."""

from typing import TYPE_CHECKING

from ctxvision.serving.client import Prediction, predict
from ctxvision.serving.server import Server

if TYPE_CHECKING:
    from ctxvision.training import Run

_PICTURES = 3


def demo_prediction(run: "Run") -> list[Prediction]:
    """Serves a run's export on a free port and asks for three pictures of its first test split, explained.

    Args:
        run: trained to the end.

    Returns:
        Three predictions, the same pictures each time.

    Raises:
        InputError: the run holds no export.
    """
    paths = run.data.split(run.data.test_splits[0]).paths
    chosen = [paths[(2 * i + 1) * len(paths) // (2 * _PICTURES)] for i in range(_PICTURES)]
    with Server(run.directory / "export", port=0) as server:
        return predict(f"{server.host}:{server.port}", chosen, explain=True)
