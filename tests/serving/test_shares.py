from ctxvision.serving.shares import joined_shares


def test_phrases_of_a_group_are_joined_and_the_largest_share_comes_first():
    phrases, shares = ["pick", "fork", "", "pickaxe", "dig"], [0.2, -0.3, 0.9, 0.25, 0.01]
    found = joined_shares(phrases, shares, [0, 1, 2, 0, 4])
    assert [places for places, _ in found] == [[0, 3], [1], [4]]
    assert [round(share, 6) for _, share in found] == [0.45, -0.3, 0.01]
