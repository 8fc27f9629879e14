"""The parts of `PrototypeRetrieval`: one search per file, and the parts that searches share.

`exact_search.py` scores every row. `inverted_lists.py` scores the rows of the nearest lists, which `clustering.py`
makes. `scann_search.py` searches with ScaNN, whose index `scann_index.py` builds. Each search finds ids by `search` and
drops rows by `drop`. `side_block.py` holds rows that came after the index was built, `phrase_filter.py` limits the rows
that a call may find, and `supported_rows.py` scales rows by their number of pictures.
"""
