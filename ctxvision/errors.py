"""The one exception that means "what you gave cannot be used"."""


class InputError(ValueError):
    """Bad input from the person who called: one sentence with argument, rule, value and remedy.

    The command line prints it and exits with status 2; the server answers INVALID_ARGUMENT.
    """
