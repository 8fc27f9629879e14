import numpy as np
import pytest

from ctxvision.context.text_to_query import fit_text_to_query, neighbours, ridge


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def texts():
    return unit(np.random.default_rng(0).normal(size=[300, 20])).astype(np.float32)


def test_ridge_solves_its_equations(texts):
    rng = np.random.default_rng(1)
    prototypes, weights = rng.normal(size=[300, 5]), rng.random(300)
    model = ridge(texts, prototypes, weights, 3.0)
    # Equals plain least squares over rows scaled by the root of the weights, with the penalty's rows appended.
    rows = np.concatenate([texts * np.sqrt(weights)[:, None], np.sqrt(3.0) * np.eye(20)])
    values = np.concatenate([prototypes * np.sqrt(weights)[:, None], np.zeros([20, 5])])
    expected = np.linalg.lstsq(rows, values, rcond=None)[0]
    np.testing.assert_allclose(model(np.eye(20)), expected, atol=1e-6)


def test_neighbours_by_hand():
    texts, prototypes = np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0]])
    model = neighbours(texts, prototypes, np.array([1.0, 0.5]), sharpness=np.log(4))
    # The weights are 1 · 4 and 0.5 · 1.
    np.testing.assert_allclose(model(np.array([[1.0, 0.0]])), [[4 / 4.5, 0.5 / 4.5]])


def test_ridge_wins_on_linear_data_and_neighbours_on_clusters(texts):
    rng = np.random.default_rng(2)
    linear = unit(texts @ rng.normal(size=[20, 8]))
    model = fit_text_to_query(texts, linear, np.full(300, 10))
    assert model.name == "ridge 1" and model.cosine > 0.95
    np.testing.assert_allclose((model(texts) * linear).sum(axis=1).mean(), 1, atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(model(texts), axis=1), 1, atol=1e-6)

    groups = rng.integers(0, 60, 300)
    near = unit(unit(rng.normal(size=[60, 20]))[groups] + 0.02 * rng.normal(size=[300, 20]))
    clustered = unit(rng.normal(size=[60, 8]))[groups]
    model = fit_text_to_query(near, clustered, np.full(300, 10))
    assert model.name.startswith("neighbours") and model.cosine > 0.9


def test_unknown_words_map_to_zeros(texts):
    model = fit_text_to_query(texts, unit(texts[:, :5]), np.ones(300))
    assert not model(np.zeros([1, 20])).any()


def test_too_few_phrases():
    with pytest.raises(ValueError, match="texts must be at least 2 phrases to learn from, got 1"):
        fit_text_to_query(np.ones([1, 4]), np.ones([1, 2]), np.ones(1))
