"""A head that learns one more label, on clusters with known answers."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.classifier.concept_head import COST, Examples, _imprinted, _raise, grow_head
from ctxvision.classifier.head import train_head
from ctxvision.classifier.pool import train_pool
from ctxvision.layers import ContextFusion

CENTRES = np.random.default_rng(7).normal(size=[5, 12]).astype(np.float32) * 1.5


def examples(labels, number, seed):
    """Two modalities of 8 and 4 numbers around each label's centre."""
    ids = np.repeat(np.array(labels, np.int32), number)
    values = CENTRES[ids] + np.random.default_rng(seed).normal(size=[len(ids), 12]).astype(np.float32)
    return Examples([values[:, :8], values[:, 8:]], ids)


def answers(head, some):
    return head([tf.constant(part) for part in some.features]).numpy().argmax(axis=1)


@pytest.fixture(scope="module")
def replay():
    return examples([0, 1, 2, 3], 60, seed=0)


@pytest.fixture(scope="module")
def head(replay):
    return train_head(replay.features, replay.labels, 4, 40, 0)


@pytest.fixture(scope="module")
def grown(head, replay):
    return grow_head(head, replay.features, examples([0, 1, 2, 3], 200, seed=1), [examples([4], 5, seed=2)])


def test_a_new_label_is_learnt_and_old_labels_are_kept(head, grown):
    new, old = examples([4], 200, seed=3), examples([0, 1, 2, 3], 200, seed=4)
    assert (answers(grown, new) == 4).mean() > 0.8
    before = (answers(head, old) == old.labels).mean()
    assert (answers(grown, old) == old.labels).mean() > before - 0.01


def test_a_calibrated_head_is_replayed_uncalibrated(head, replay, grown):
    """The uniform share stays beside the weights, and is not learnt into them."""
    calibrated = ContextFusion.from_config(head.get_config())
    calibrated([tf.constant(part) for part in replay.features])
    calibrated.set_weights(head.get_weights())
    calibrated.uniform_share.assign(0.3)
    held_out, concepts = examples([0, 1, 2, 3], 200, seed=1), [examples([4], 5, seed=2)]
    found = grow_head(calibrated, replay.features, held_out, concepts)
    assert float(found.uniform_share) == pytest.approx(0.3)
    for one, other in zip(
        found.members[0].output_stage.get_weights(), grown.members[0].output_stage.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_lower_stages_are_unchanged(head, replay, grown):
    for old, new in zip(head.get_weights(), grown.get_weights(), strict=True):
        assert old.shape == new.shape and np.array_equal(old, new) or new.shape[-1] == 5
    old = head.members[0].penultimate([tf.constant(part) for part in replay.features])
    np.testing.assert_array_equal(
        grown.members[0].penultimate([tf.constant(p) for p in replay.features]), old
    )


def test_the_new_row_starts_as_the_difference_of_means(head, replay):
    concept = examples([4], 5, seed=2)
    kernel, bias = _imprinted(head, 0, replay.features, [concept])
    known, own = (
        head.members[0].penultimate([tf.constant(p) for p in e.features]).numpy() for e in (replay, concept)
    )
    direction = own.mean(axis=0) - known.mean(axis=0)
    row = kernel[:, 4]
    assert row @ direction == pytest.approx(np.linalg.norm(row) * np.linalg.norm(direction), rel=1e-4)
    assert np.linalg.norm(row) == pytest.approx(np.linalg.norm(kernel[:, :4], axis=0).mean(), rel=1e-4)
    logits = (known @ kernel + bias).mean(axis=0)
    assert logits[4] == pytest.approx(logits[:4].mean(), abs=1e-4)
    old_kernel, old_bias = head.members[0].output_stage.get_weights()
    assert np.array_equal(kernel[:, :4], old_kernel) and np.array_equal(bias[:4], old_bias)


def test_an_old_row_moves_as_far_as_its_pictures_need(head, replay):
    """Pictures of label 3 are taught as label 1, whose logit at the mean feature does not change."""
    concept = examples([3], 5, seed=2)._replace(labels=np.full(5, 1, np.int32))
    kernel, bias = _imprinted(head, 0, replay.features, [concept])
    known, own = (
        head.members[0].penultimate([tf.constant(p) for p in e.features]).numpy() for e in (replay, concept)
    )
    old_kernel, old_bias = head.members[0].output_stage.get_weights()
    others = [0, 2, 3]
    assert np.array_equal(kernel[:, others], old_kernel[:, others])
    assert np.array_equal(bias[others], old_bias[others])
    logits = own @ old_kernel + old_bias
    assert (logits.argmax(axis=1) == 3).all()
    usual, mean = known.mean(axis=0), own.mean(axis=0)
    rise = mean @ (kernel - old_kernel)[:, 1] + (bias - old_bias)[1]
    assert rise == pytest.approx((logits[:, 3] - logits[:, 1]).max(), rel=1e-4)
    assert usual @ (kernel - old_kernel)[:, 1] + (bias - old_bias)[1] == pytest.approx(0, abs=1e-3)


def test_an_old_row_stays_if_its_pictures_already_get_the_label(head, replay):
    concept = examples([1], 5, seed=2)
    assert (answers(head, concept) == 1).all()
    for found, old in zip(
        _imprinted(head, 0, replay.features, [concept]), head.members[0].output_stage.get_weights()
    ):
        assert np.array_equal(found, old)


@pytest.fixture(scope="module")
def pool(replay):
    head = train_pool(replay.features, replay.labels, 4, 40, 0)
    head.member_weights.assign([0.8, 0.3])
    return head


def test_each_member_of_a_pool_grows(pool, replay):
    held_out = examples([0, 1, 2, 3], 200, seed=1)
    grown = grow_head(pool, replay.features, held_out, [examples([4], 5, seed=2)])
    np.testing.assert_array_equal(grown.member_weights, pool.member_weights)
    for old, new in zip(pool.members, grown.members, strict=True):
        assert new.output_stage.kernel.shape == (*old.output_stage.kernel.shape[:1], 5)
        for one, other in zip(old.lower_stages(), new.lower_stages(), strict=True):
            for weights, kept in zip(one.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_array_equal(weights, kept)
    new, old = examples([4], 200, seed=3), examples([0, 1, 2, 3], 200, seed=4)
    assert (answers(grown, new) == 4).mean() > 0.7
    assert (answers(grown, old) == old.labels).mean() > (answers(pool, old) == old.labels).mean() - 0.015


def test_a_member_of_weight_zero_is_ignored(pool, replay):
    idle = ContextFusion.from_config(pool.get_config())
    idle([tf.constant(part) for part in replay.features])
    idle.set_weights(pool.get_weights())
    idle.member_weights.assign([0.0, 0.0])
    grown = grow_head(idle, replay.features, examples([0, 1], 20, seed=1), [examples([4], 5, seed=2)])
    assert all(np.isfinite(weights).all() for weights in grown.get_weights())


def test_more_pictures_of_an_old_label_add_no_row(head, replay):
    grown = grow_head(head, replay.features, examples([0, 1, 2, 3], 50, seed=1), [examples([2], 5, seed=2)])
    assert grown.num_labels == 4


def test_two_concepts_of_a_new_and_an_old_label(head, replay):
    concepts = [examples([4], 5, seed=2), examples([4], 2, seed=5), examples([1], 1, seed=6)]
    grown = grow_head(head, replay.features, examples([0, 1, 2, 3], 50, seed=1), concepts)
    assert grown.num_labels == 5
    assert (answers(grown, examples([4], 200, seed=3)) == 4).mean() > 0.8


def test_a_concept_costs_at_most_the_allowed_accuracy(head, replay):
    # The pictures of label 0 under another name would take all of label 0.
    held_out = examples([0, 1, 2, 3], 100, seed=1)
    twin = Examples(examples([0], 20, seed=2).features, np.full(20, 4, np.int32))
    grown = grow_head(head, replay.features, held_out, [twin])
    before, after = ((answers(one, held_out) == held_out.labels).sum() for one in (head, grown))
    assert after >= before - COST * len(held_out.labels)
    assert (answers(grown, held_out) == 4).any(), "it takes what it may"


def test_without_held_out_pictures_the_trained_bias_stays(head, replay):
    nothing = Examples([part[:0] for part in replay.features], replay.labels[:0])
    grown = grow_head(head, replay.features, nothing, [examples([4], 5, seed=2)])
    assert (answers(grown, examples([4], 200, seed=3)) == 4).mean() > 0.5


def test_the_same_seed_makes_the_same_head(head, replay, grown):
    again = grow_head(head, replay.features, examples([0, 1, 2, 3], 200, seed=1), [examples([4], 5, seed=2)])
    for one, other in zip(grown.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("leads", "cost", "expected"),
    [
        ([-1.0, 0.5, -0.25], 0, -0.5),  # no cost is allowed: the bias falls below the best lead
        ([-1.0, 0.5, -0.25], 1, 0.25),  # the lead of 0.5 may be lost, -0.25 must stay
        ([-1.0, 0.5, -0.25], 2, 1.0),
        ([-9.0, -8.0], 0, 1.5),  # the largest allowed rise
        ([0.1], 1, 1.5),
        ([], 0, 1.5),
    ],
)
def test_how_far_a_bias_is_raised(leads, cost, expected):
    assert _raise(np.array(leads), cost) == pytest.approx(expected, abs=2e-4)
