import pytest

from ctxvision.layers import PrototypeRetrieval
from tests.layers.retrieval.many_rows import BACKENDS, TABLE


@pytest.fixture(scope="module", params=BACKENDS)
def retrieval(request):
    """Makes an indexed layer, which tests must not change."""
    return PrototypeRetrieval(k=4, backend=request.param).index(TABLE, min_count=0)
