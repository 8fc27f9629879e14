"""Refuses an input that cannot be converted, and shortens the errors that lead to the refusal."""

import re


class RefusedError(Exception):
    """Raised if the input cannot be converted; the message is one sentence."""


def no_space(error: Exception) -> bool:
    return "no space left" in str(error).lower()


def reason(error: Exception) -> str:
    """Returns the error's message on one line, without the text that Keras and TensorFlow add."""
    message = re.sub(r"\x1b\[\d*m|\{\{.*?\}\}|\[Op:\w+\]", "", str(error)).split("Arguments received by")[0]
    message = re.sub(r"^Exception encountered when calling [^\n]*\n", "", message)
    return " ".join(message.split())[:300] or type(error).__name__
