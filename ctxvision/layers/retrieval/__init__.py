"""What is behind `PrototypeRetrieval`: one search a file, and the parts that they share.

`exact_search.py` scores every row, `inverted_lists.py` the rows of the nearest lists (made by `clustering.py`),
`scann_search.py` asks ScaNN, whose index `scann_index.py` builds. Each finds ids by `search`, and forgets them by
`drop`. `side_block.py` holds what came after the index was built, `phrase_filter.py` says which rows a call may find,
`supported_rows.py` how rows rank.
"""
