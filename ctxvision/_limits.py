"""Limits that several packages keep."""

# Of a phrase, in UTF-8.
MOST_PHRASE_BYTES = 1000
