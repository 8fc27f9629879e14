"""Adding, moving, removing and restoring rows without a rebuild; every backend reads all its rows here."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision import PhraseTable
from ctxvision.layers import PrototypeRetrieval, prototype_retrieval
from ctxvision.layers.retrieval import vocabulary
from tests.layers.retrieval.oracle import check_exact, check_sound, unit

ROWS, DIM, SIDE = 1200, 6, 16
BACKENDS = ("ivf", "exact", "scann")
SETTINGS = {"ivf": {"num_lists": 20, "probes": 20}, "exact": {}, "scann": {"probes": 35, "depth": ROWS}}
PROTOTYPES = unit(np.random.default_rng(0).normal(size=(ROWS, DIM)))
QUERIES = unit(np.random.default_rng(1).normal(size=(5, DIM)))
OPPOSITE = -QUERIES[:1]


def vectors(seed, rows):
    return unit(np.random.default_rng(seed).normal(size=(rows, DIM)))


@pytest.fixture
def table():
    flags = {"adult": np.arange(ROWS) % 5 == 0}
    languages = ["de" if i % 3 == 0 else "en" for i in range(ROWS)]
    return PhraseTable.from_arrays([f"p{i}" for i in range(ROWS)], PROTOTYPES, None, languages, None, flags)


@pytest.fixture(params=BACKENDS)
def layer(request, monkeypatch, table):
    """Makes the side block small: room for 1,200 rows and 18 more (1,200 / 64)."""
    monkeypatch.setattr(prototype_retrieval, "FEWEST_ROWS", 64)
    monkeypatch.setattr(prototype_retrieval, "SIDE_ROWS", SIDE)
    monkeypatch.setattr(vocabulary, "SIDE_ROWS", SIDE)
    return PrototypeRetrieval(k=4, backend=request.param).index(table, **SETTINGS[request.param])


def check(layer, table, queries=QUERIES, where=None, kept=True, call=None):
    found = (
        (call or layer)(tf.constant(queries)) if where is None else layer(tf.constant(queries), where=where)
    )
    check_exact(found.ids, found.scores, queries, table.prototypes, 4, table.live & kept)
    assert [[p.decode() for p in row] for row in found.phrases.numpy()] == [
        [table.phrases[int(i)] if i >= 0 else "" for i in row] for row in found.ids.numpy()
    ]
    return found


def side_rows(layer):
    return len(layer._vocabulary.side_block.held()[0])


def test_traced_functions_find_new_rows(layer, table):
    traced = tf.function(layer)
    check(layer, table, call=traced)
    layer.update(table, table.upsert(["new ü", "newer"], QUERIES[:2]))
    found = check(layer, table, call=traced)
    assert found.phrases.numpy()[:2, 0].tolist() == ["new ü".encode(), b"newer"]
    assert found.ids.numpy()[:2, 0].tolist() == [ROWS, ROWS + 1]
    left = layer.compact()
    assert left == side_rows(layer) == (0 if layer.backend == "ivf" else 2)
    check(layer, table, call=traced)
    layer.update(table, table.remove(["newer"]))
    check(layer, table, call=traced)


def test_known_phrase_moves(layer, table):
    first = check(layer, table).ids.numpy()[0, 0]
    layer.update(table, table.upsert([table.phrases[int(first)]], OPPOSITE))
    assert first not in check(layer, table).ids.numpy()[0]
    assert check(layer, table, OPPOSITE).ids.numpy()[0, 0] == first
    # The phrase moves again, from the side block or from the list that compaction chose.
    layer.compact()
    layer.update(table, table.upsert([table.phrases[int(first)]], QUERIES[:1]))
    assert check(layer, table).ids.numpy()[0, 0] == first
    check(layer, table, OPPOSITE)


def test_removed_phrase_never_comes_back(layer, table, tmp_path):
    gone = np.unique(check(layer, table).ids)[:SIDE]
    names = [table.phrases[int(i)] for i in gone]
    layer.update(table, table.remove(names))

    def check_gone(layer, table):
        found = check(layer, table)
        assert (
            not np.isin(found.ids, gone).any() and not np.isin(found.phrases.numpy().astype(str), names).any()
        )
        # A removed phrase is not found among nearly all rows either.
        assert not np.isin(layer._search.search(tf.constant(QUERIES), ROWS - SIDE)[1], gone).any()

    check_gone(layer, table)
    layer.compact()
    check_gone(layer, table)
    layer.update(table, table.upsert(["other"], vectors(3, 1)))
    layer.compact()
    check_gone(layer, table)
    table.save(tmp_path / "table")
    again = PhraseTable.load(tmp_path / "table")
    check_gone(PrototypeRetrieval(4, layer.backend).index(again, **SETTINGS[layer.backend]), again)
    # An update without changes does not add rows that the index left out.
    layer.update(table, gone)
    check_gone(layer, table)


def test_restored_phrase_is_found_at_its_new_prototype(layer, table):
    first = int(check(layer, table).ids.numpy()[0, 0])
    layer.update(table, table.remove([f"p{first}"]))
    check(layer, table)
    ids = table.upsert([f"p{first}"], OPPOSITE)
    layer.update(table, ids)
    assert ids.tolist() == [first]
    assert check(layer, table, OPPOSITE).ids.numpy()[0, 0] == first
    assert first not in check(layer, table).ids.numpy()[0]
    layer.compact()
    assert check(layer, table, OPPOSITE).ids.numpy()[0, 0] == first
    layer.update(table, table.remove([f"p{first}"]))
    assert first not in check(layer, table, OPPOSITE).ids.numpy()


def test_new_row_removed_before_it_is_compacted(layer, table):
    layer.update(table, table.upsert(["new"], QUERIES[:1]))
    layer.update(table, table.remove(["new"]))
    assert side_rows(layer) == 0
    check(layer, table)
    assert layer.compact() == 0
    check(layer, table)


def test_several_changes_in_one_update(layer, table):
    ids = [
        table.upsert(["a", "b", "p7"], vectors(2, 3)),
        table.remove(["p8", "b"]),
        table.upsert(["a"], QUERIES[:1]),
    ]
    layer.update(table, np.concatenate(ids))
    assert check(layer, table).phrases.numpy()[0, 0] == b"a"
    assert side_rows(layer) == 2


def test_no_changes(layer, table):
    layer.update(table, np.array([], np.int32))
    assert layer.compact() == 0
    check(layer, table)


def test_filters_hold_for_new_and_changed_rows(layer, table):
    ids = table.upsert(
        ["new", "newer", "newest"],
        np.repeat(QUERIES[:1], 3, axis=0),
        languages=["xx", "de", "en"],
        flags={"adult": np.array([False, True, False])},
    )
    layer.update(table, ids)
    for compacted in (False, True):
        if compacted:
            layer.compact()
        for rules, kept in (
            ({"allow_languages": ["xx"]}, table.languages == "xx"),
            ({"deny_languages": ["xx", "de"]}, table.languages == "en"),
            ({"deny_flags": ["adult"]}, ~table.flags["adult"]),
            (
                {"allow_flags": ["adult"], "allow_languages": ["de"]},
                table.flags["adult"] & (table.languages == "de"),
            ),
            ({"deny_ids": ids}, ~np.isin(np.arange(len(table)), ids)),
        ):
            check(layer, table, where=layer.filter(**rules), kept=kept)
    layer.update(table, table.upsert(["newest"], QUERIES[:1], flags={"adult": np.array([True])}))
    found = check(layer, table, where=layer.filter(deny_flags=["adult"]), kept=~table.flags["adult"])
    assert b"newest" not in found.phrases.numpy()


def test_rows_left_out_of_the_index_stay_out(layer, table):
    layer.index(table, languages=["en"], min_count=1, **SETTINGS[layer.backend] and {"probes": 9})
    ids = table.upsert(
        ["few", "deutsch"], np.repeat(QUERIES[:1], 2, axis=0), counts=[0, 9], languages=["en", "de"]
    )
    layer.update(table, ids)
    assert side_rows(layer) == 0 and not np.isin(layer(tf.constant(QUERIES)).ids, ids).any()
    layer.update(table, table.upsert(["few"], QUERIES[:1], counts=[1]))
    assert layer(tf.constant(QUERIES)).phrases.numpy()[0, 0] == b"few"
    layer.update(table, table.upsert(["few"], QUERIES[:1], counts=[0]))
    assert b"few" not in layer(tf.constant(QUERIES)).phrases.numpy()


def test_support_holds_for_new_rows(layer, table):
    layer.index(table, support=3.0, **SETTINGS[layer.backend])
    layer.update(table, table.upsert(["new"], QUERIES[:1], counts=[9]))
    for _ in range(2):
        found = layer(tf.constant(QUERIES[:1]), k=1)
        assert found.phrases.numpy() == b"new"
        np.testing.assert_allclose(found.scores, [[0.75]], atol=1e-6)
        layer.compact()


# === Room ===


def test_more_rows_in_an_update_than_the_block_holds(layer, table):
    ids = table.upsert([f"p{i}" for i in range(0, ROWS, 12)], vectors(5, 100))  # known rows that move
    if layer.backend == "ivf":
        layer.update(table, ids)  # 600 places are free in the lists
        assert side_rows(layer) <= SIDE
        check(layer, table)
        check(layer, table, vectors(5, 100)[:20])
    else:
        with pytest.raises(
            ValueError, match=r"ids must name at most 0 new rows, .*, got 16: call index\(table\)"
        ):
            layer.update(table, ids)
    layer.index(table, **SETTINGS[layer.backend])
    check(layer, table, vectors(5, 100)[:20])


def test_block_that_fills_up_little_by_little(layer, table):
    for start in range(0, 16, 4):
        layer.update(table, table.upsert([f"new {start + i}" for i in range(4)], vectors(start, 4)))
        check(layer, table, vectors(start, 4))
    assert side_rows(layer) == 16
    ids = table.upsert(["new 16", "new 17"], vectors(16, 2))
    if layer.backend == "ivf":
        layer.update(table, ids)
        assert side_rows(layer) == 2
        check(layer, table, vectors(16, 2))
    else:
        before = layer(tf.constant(QUERIES)).ids.numpy()
        with pytest.raises(
            ValueError, match=r"ids must name at most 0 new rows, .*, got 2: call index\(table\)"
        ):
            layer.update(table, ids)
        np.testing.assert_array_equal(layer(tf.constant(QUERIES)).ids, before)
        # Rows move within the block, and removed rows free room.
        layer.update(table, table.upsert(["new 3"], QUERIES[:1]))
        layer.update(table, table.remove(["new 0", "new 1"]))
        layer.update(table, ids)
        check(layer, table, vectors(16, 2))


def test_full_lists_leave_rows_in_the_block(monkeypatch, table):
    monkeypatch.setattr(prototype_retrieval, "FEWEST_ROWS", 4)
    monkeypatch.setattr(vocabulary, "SIDE_ROWS", 64)
    small = table.take(np.arange(40))
    layer = PrototypeRetrieval(k=4).index(small, num_lists=4, probes=4)  # 15 places each: 20 are free
    layer.update(small, small.upsert([f"new {i}" for i in range(30)], vectors(1, 30)))
    assert layer.compact() == side_rows(layer) == 10
    check(layer, small, vectors(1, 30))
    assert layer.compact() == 10
    layer.update(small, small.remove([f"p{i}" for i in range(40) if i % 2]))
    assert layer.compact() == 0
    check(layer, small, vectors(1, 30))


def test_more_rows_or_languages_than_room(layer, table):
    wanted = table.upsert([f"new {i}" for i in range(19)], vectors(1, 19))
    match = r"table must have at most 1218 rows and 34 languages to be taken in without a rebuild, got 1219 and 2: call"
    with pytest.raises(ValueError, match=match):
        layer.update(table, wanted[-1:])
    check(layer, table, kept=np.arange(len(table)) < ROWS)
    layer.index(table, **SETTINGS[layer.backend])
    check(layer, table)
    ids = table.upsert([f"p{i}" for i in range(33)], vectors(2, 33), languages=[f"l{i}" for i in range(33)])
    with pytest.raises(
        ValueError, match=r"and 34 languages to be taken in without a rebuild, got 1219 and 35: call"
    ):
        layer.update(table, ids[:1])


def test_float16_rows_change_too(monkeypatch, layer):
    table = PhraseTable.from_arrays([f"p{i}" for i in range(ROWS)], PROTOTYPES, dtype="float16")
    layer.index(table, **SETTINGS[layer.backend])
    layer.update(table, table.upsert(["new", "p3"], QUERIES[:2]))
    for _ in range(2):
        check(layer, table)
        layer.compact()


def test_changes_with_few_probed_lists(monkeypatch, table):
    monkeypatch.setattr(prototype_retrieval, "FEWEST_ROWS", 64)
    layer = PrototypeRetrieval(k=4).index(table, num_lists=40, probes=1)
    new = vectors(8, 30)
    layer.update(table, table.upsert([f"new {i}" for i in range(30)], new))
    layer.update(table, table.remove([f"p{i}" for i in range(0, ROWS, 2)]))
    assert layer.compact() == 0
    found = layer(tf.constant(new))
    check_sound(found.ids, found.scores, new, table.prototypes, table.live)
    # Compaction put the rows into their nearest lists, which a search reads first.
    assert (found.phrases.numpy()[:, 0] == [f"new {i}".encode() for i in range(30)]).all()
