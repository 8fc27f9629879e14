"""Joins the shares of an explanation for display."""

from collections.abc import Sequence


def joined_shares(
    phrases: Sequence[str], shares: Sequence[float], groups: Sequence[int]
) -> list[tuple[list[int], float]]:
    """Joins the shares of phrases that are shown together; returns their places and summed share, the largest first.

    Args:
        phrases: the phrases of one picture; "" for a missing phrase.
        shares: the shares of one label.
        groups: a number for each phrase, equal for phrases with nearly the same meaning.

    Example:
        >>> joined_shares(["pick", "fork", "pickaxe"], [0.25, -0.1, 0.25], [0, 1, 0])
        [([0, 2], 0.5), ([1], -0.1)]
    """
    places: dict[int, list[int]] = {}
    for place, phrase in enumerate(phrases):
        if phrase:
            places.setdefault(int(groups[place]), []).append(place)
    summed = [(group, sum(float(shares[place]) for place in group)) for group in places.values()]
    return sorted(summed, key=lambda one: -abs(one[1]))
