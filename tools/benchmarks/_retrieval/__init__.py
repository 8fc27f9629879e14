"""Parts of the benchmark `retrieval.py`.

`rows.py` makes rows, queries and the true nearest rows. `build.py` builds the index of a method in its own process,
with `tensorflow_methods.py` or `other_methods.py`, which share `index.py`. `serve.py` is a program that searches an
index in another process, and `turns.py` times it in turns with the baseline. `records.py` stores the results, `plot.py`
draws them.
"""
