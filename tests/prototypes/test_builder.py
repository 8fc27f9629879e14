import numpy as np
import pytest

from ctxvision import InputError, build_prototypes


def test_mean_of_normalised_embeddings_normalised():
    # Query 0 sees (1, 0), (1, 0) and (0, 1), whatever their lengths: mean (2, 1) / 3, normalised (2, 1) / √5.
    embeddings = [[4.0, 0.0], [0.5, 0.0], [0.0, 100.0]]
    prototypes, counts = build_prototypes(embeddings, [2, 0, 1, 2], [0, 0, 0, 1], num_queries=2)
    np.testing.assert_allclose(prototypes, [[2 / 5**0.5, 1 / 5**0.5], [0, 1]], rtol=1e-6)
    assert prototypes.dtype == np.float32
    assert counts.tolist() == [3, 1] and counts.dtype == np.int64


def test_query_without_pictures_and_one_whose_pictures_cancel_out_have_count_0():
    # 0.6² + 0.8² is not 1 in floating point, so that opposites leave a rest of rounding.
    embeddings = np.array([[0.6, 0.8], [-0.3, -0.4], [1.0, 0.0]])
    prototypes, counts = build_prototypes(embeddings, [0, 1, 2], [1, 1, 2], num_queries=4)
    assert counts.tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(prototypes, [[0, 0], [0, 0], [1, 0], [0, 0]])


def test_sums_are_exact_over_many_pictures():
    # In float32, a million times 1/√2 summed one by one is off in the third digit.
    embeddings = np.array([[1.0, 1.0], [1.0, 0.0]], np.float32)
    picture = np.r_[np.zeros(1_000_000, int), np.ones(1_000_000, int)]
    prototypes, counts = build_prototypes(embeddings, picture, np.zeros(2_000_000, int), num_queries=1)
    # Half-way between 45 and 0 degrees.
    np.testing.assert_allclose(prototypes, [[np.cos(np.pi / 8), np.sin(np.pi / 8)]], rtol=1e-6)
    assert counts.tolist() == [2_000_000]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_unusable_embedding_is_named(bad):
    with pytest.raises(InputError, match="embeddings must be finite and not zero, got picture 1 and 0 more"):
        build_prototypes([[1.0, 0.0], [bad, 0.0]], [0], [0], num_queries=1)


@pytest.mark.parametrize(
    ("embeddings", "picture", "query", "match"),
    [
        ([1.0, 0.0], [0], [0], r"embeddings must have shape \[N, D\], got \[2\]"),
        ([[1.0, 0.0]], [0, 1], [0, 0], r"pair_picture must lie in 0..0, got 1 at pair 1"),
        ([[1.0, 0.0]], [-1], [0], r"pair_picture must lie in 0..0, got -1 at pair 0"),
        ([[1.0, 0.0]], [0], [3], r"pair_query must lie in 0..2, got 3 at pair 0"),
        ([[1.0, 0.0]], [0], [0, 1], "pair_picture and pair_query must have one length, got 1 and 2"),
    ],
)
def test_pairs_that_do_not_fit(embeddings, picture, query, match):
    with pytest.raises(InputError, match=match):
        build_prototypes(embeddings, picture, query, num_queries=3)
