"""Text that people write, as their programs save it."""

import pytest

from ctxvision._files import open_text
from ctxvision.context.text_tower import phrases_of
from ctxvision.data.associations import read_associations
from ctxvision.data.imagenet import read_synsets
from ctxvision.errors import InputError


def test_a_byte_order_mark_is_no_text(tmp_path):
    place = tmp_path / "list.txt"
    place.write_bytes(b"\xef\xbb\xbfred fox\r\nblue sea\r\n")
    with open_text(place) as lines:
        assert list(lines) == ["red fox\n", "blue sea\n"]
    assert [one.phrase for one in phrases_of(place)] == ["red fox", "blue sea"]


@pytest.mark.parametrize(("encoding", "found"), [("latin-1", "0xe9 in line 2"), ("utf-16", "0xff in line 1")])
def test_other_encodings_are_refused_with_their_line(tmp_path, encoding, found):
    place = tmp_path / "list.txt"
    place.write_bytes("n1\tfox\nn2\tcafé\n".encode(encoding))
    for read in (read_synsets, lambda path: list(phrases_of(path)), lambda path: read_associations(path, {})):
        with pytest.raises(
            InputError, match=f"list.txt must be UTF-8, got byte {found}: save the file as UTF-8"
        ):
            read(place)


def test_other_errors_pass(tmp_path):
    (tmp_path / "list.txt").write_text("a")
    with pytest.raises(KeyError), open_text(tmp_path / "list.txt"):
        raise KeyError
