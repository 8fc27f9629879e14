"""Shares of an answer, put together for people to read."""

from collections.abc import Sequence


def joined_shares(
    phrases: Sequence[str], shares: Sequence[float], groups: Sequence[int]
) -> list[tuple[list[int], float]]:
    """Phrases to show together, largest share first: their places, and the sum of their shares.

    Args:
        phrases: of one picture; "" where there is none.
        shares: of one label.
        groups: of each phrase a number, the same for phrases that say nearly the same.

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
