"""Pictures that a context is not trained on, for its index to be tuned on."""

import numpy as np

from ctxvision.training.loaded_data import LoadedData

MOST = 1000
# Of `web`, where the data has nothing else.
_SHARE = 20


def held_out_rows(data: LoadedData) -> tuple[str, np.ndarray]:
    """A split and int [N] rows of it, ascending, at most `MOST`.

    A context does not learn from `val` and `train`, so their pictures are taken. Where the data has neither, one in 20
    pictures of `web` is held out. Fewer than 20 pictures are all returned, and none is held out.
    """
    splits = data.manifest.splits
    split = next((name for name in ("val", "train", "web") if name in splits), splits[0])
    total = len(data.split(split))
    wanted = total // _SHARE if split == "web" and total >= _SHARE else total
    return split, np.sort(np.random.default_rng(data.seed).permutation(total)[: min(wanted, MOST)])


def trained_on(data: LoadedData) -> np.ndarray:
    """bool [N]: the pictures of `web` that a context learns from, all but those held out."""
    split, rows = held_out_rows(data)
    kept = np.ones(len(data.split("web")), bool)
    if split == "web" and len(rows) < len(kept):
        kept[rows] = False
    return kept
