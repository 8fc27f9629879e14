"""The parts of `convert.py`, which run under Keras 3 and import nothing else of ctxvision."""
