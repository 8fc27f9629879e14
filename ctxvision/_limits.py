"""Limits that several packages share."""

# Largest length of a phrase in UTF-8.
MOST_PHRASE_BYTES = 1000
