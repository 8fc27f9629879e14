"""Holds out pictures from a context's training, to tune its index on them."""

import numpy as np

from ctxvision.training.loaded_data import LoadedData

MOST = 1000
# One in so many pictures of `web` is held out if the data has neither `val` nor `train`.
_SHARE = 20


def held_out_rows(data: LoadedData) -> tuple[str, np.ndarray]:
    """Returns the name of a split and the held-out rows of it, int [N], ascending, at most `MOST`.

    Takes the pictures of `val` or else `train`, from which a context does not learn. If the data has neither, takes one
    in 20 pictures of `web`. If `web` has fewer than 20 pictures, takes all of them, and training uses them too.
    """
    splits = data.manifest.splits
    split = next((name for name in ("val", "train", "web") if name in splits), splits[0])
    total = len(data.split(split))
    wanted = total // _SHARE if split == "web" and total >= _SHARE else total
    return split, np.sort(np.random.default_rng(data.seed).permutation(total)[: min(wanted, MOST)])


def trained_on(data: LoadedData) -> np.ndarray:
    """Returns bool [N]: the pictures of `web` that the context learns from, which are all that are not held out."""
    split, rows = held_out_rows(data)
    kept = np.ones(len(data.split("web")), bool)
    if split == "web" and len(rows) < len(kept):
        kept[rows] = False
    return kept
