"""Contexts: phrase generator, phrase table and text encoder, which predict and embed phrases."""
