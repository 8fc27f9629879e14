import pytest

from ctxvision import PhraseTable
from tests.vocabulary.small_table import small_table


@pytest.fixture
def table():
    return small_table()


@pytest.fixture(params=["in memory", "bound"])
def either(request, table, tmp_path):
    """Gives the same table in memory and loaded from disk."""
    if request.param == "in memory":
        return table
    table.save(tmp_path / "bound")
    return PhraseTable.load(tmp_path / "bound")


@pytest.fixture
def folder(table, tmp_path):
    """Gives the folder of the same table on disk."""
    table.save(tmp_path / "table")
    return tmp_path / "table"
