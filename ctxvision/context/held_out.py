"""Pictures that a context is not trained on, for its index to be tuned on."""

import numpy as np

from ctxvision.training.loaded_data import LoadedData

MOST = 1000
# Of `web`, where the data has nothing else.
_SHARE = 20


def held_out_rows(data: LoadedData) -> tuple[str, np.ndarray]:
    """A split and int [N] rows of it, ascending, at most `MOST`.

    They are of `val`, else of `train`, from which a context does not learn. Where the data has neither, one in 20
    pictures of `web` is held out; of fewer than 20 pictures none is, and all of them are returned.
    """
    split = next(
        (name for name in ("val", "train", "web") if name in data.manifest.splits), data.manifest.splits[0]
    )
    total = len(data.split(split))
    wanted = max(total // _SHARE, 1) if split == "web" else total
    rows = np.random.default_rng(data.seed).permutation(total)[: min(wanted, MOST)]
    return split, np.arange(total) if split == "web" and total < _SHARE else np.sort(rows)


def trained_on(data: LoadedData) -> np.ndarray:
    """bool [N]: the pictures of `web` that a context learns from, all but those held out."""
    split, rows = held_out_rows(data)
    kept = np.ones(len(data.split("web")), bool)
    if split == "web" and len(rows) < len(kept):
        kept[rows] = False
    return kept
