"""The side block of rows beside an index."""

import numpy as np
import tensorflow as tf

from ctxvision.layers.retrieval.side_block import SideBlock

EYE = np.eye(3, dtype=np.float32)
QUERY = tf.constant([[0.6, 0.8, 0.0]])


def block(ids, rows, size=4):
    side = SideBlock(size, 3)
    side.put(np.array(ids, np.int32), np.array(rows, np.float32))
    return side


def joined(side, scores, ids, k, admits=None):
    found = tf.constant([scores], tf.float32), tf.constant([ids], tf.int32)
    best, places = side.join(found, QUERY, k, admits)
    assert (best.dtype, places.dtype) == (tf.float32, tf.int32)
    return [round(float(x), 3) for x in best[0]], places.numpy()[0].tolist()


def test_rows_are_held_until_they_are_dropped():
    side = block([7, 9, 8], EYE)
    assert side.room_without(np.array([])) == 1 and side.room_without(np.array([9, 1])) == 2
    side.drop(np.array([9, 1], np.int32))
    side.put(np.array([4, 5], np.int32), -EYE[:2])
    ids, rows = side.held()
    assert sorted(zip(ids.tolist(), rows.tolist())) == [
        (4, [-1, 0, 0]),
        (5, [0, -1, 0]),
        (7, [1, 0, 0]),
        (8, [0, 0, 1]),
    ]
    assert side.room_without(np.array([])) == 0


def test_putting_no_rows_changes_nothing():
    side = block([7], EYE[:1])
    side.put(np.array([], np.int32), EYE[:0])
    side.drop(np.array([], np.int32))
    assert side.held()[0].tolist() == [7]


def test_the_best_of_index_and_block():
    side = block([7, 9], EYE[:2])  # the scores are 0.6 and 0.8
    assert joined(side, [0.9, 0.7, 0.1], [1, 2, 3], 3) == ([0.9, 0.8, 0.7], [1, 9, 2])


def test_empty_block_leaves_what_the_index_found():
    assert joined(SideBlock(4, 3), [0.9, -3e38], [1, -1], 2)[1] == [1, -1]


def test_empty_places_of_the_index_are_filled_and_free_places_never_found():
    side = block([7], [[-1, 0, 0]])  # the score is -0.6, below the zeros of free places
    scores, ids = joined(side, [0.9, -3e38, -3e38], [1, -1, -1], 3)
    assert (scores[:2], ids) == ([0.9, -0.6], [1, 7, -1])


def test_filter_holds_for_the_block():
    side = block([7, 9], EYE[:2])
    assert joined(side, [0.1], [1], 1, admits=lambda ids: ids == 7) == ([0.6], [7])


def test_row_in_block_and_index_is_found_once():
    side = block([7, 9], EYE[:2])
    assert joined(side, [0.8, 0.1], [9, 3], 2) == ([0.8, 0.6], [9, 7])
    assert joined(side, [0.8, 0.6, 0.1], [9, 7, 3], 3) == ([0.8, 0.6, 0.1], [9, 7, 3])


def test_empty_batch():
    found = tf.zeros([0, 2]), tf.zeros([0, 2], tf.int32)
    assert [x.shape.as_list() for x in block([7], EYE[:1]).join(found, tf.zeros([0, 3]), 2)] == [[0, 2]] * 2
