"""A head of separate members."""

import numpy as np
import pytest

from ctxvision.classifier.head import member_logits_of, probabilities_of, train_head
from ctxvision.classifier.pool import train_pool
from ctxvision.layers import TermPlaces


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300).astype(np.int32)
    parts = [rng.normal(0, 1, (300, width)).astype(np.float32) for width in (5, 4, 6)]
    for part in parts:
        part[np.arange(300), labels] += 1
    return parts, labels


def test_members_are_the_heads_of_single_modalities(data):
    parts, labels = data
    pool = train_pool(parts, labels, 3, 50, seed=1)
    for logits, part, stages in zip(member_logits_of(pool, parts), parts, (0, 2, 1), strict=True):
        alone = train_head([part], labels, 3, 50, seed=1, stages=(stages,))
        np.testing.assert_allclose(logits, member_logits_of(alone, [part])[0], atol=1e-5)


def test_terms_are_a_member(data):
    parts, labels = data
    terms = TermPlaces(np.ones([3, 2, 10], np.float32), np.zeros([3, 2], np.float32), np.ones(3, np.float32))
    head = train_pool(parts, labels, 3, 20, seed=1, terms=terms)
    assert member_logits_of(head, parts).shape == (4, 300, 3)
    assert probabilities_of(head, parts).shape == (300, 3)


def test_several_labels_are_pooled_label_by_label(data):
    parts, labels = data
    targets = np.eye(3, dtype=np.float32)[labels]
    head = train_pool(parts[:2], targets, 3, 50, seed=1, balance="positive_weight")
    logits = member_logits_of(head, parts[:2])
    np.testing.assert_allclose(
        probabilities_of(head, parts[:2]), 1 / (1 + np.exp(-logits.sum(axis=0))), atol=1e-5
    )
