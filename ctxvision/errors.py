"""The exception for bad input."""


class InputError(ValueError):
    """Raised for bad input from the caller; the message is one sentence with argument, rule, value and remedy.

    The command line prints it and exits with status 2; the server answers INVALID_ARGUMENT.

    Example:
        >>> try:
        ...     cv.Run("runs/nothing")
        ... except cv.InputError as error:
        ...     print(error)
        run must be a folder made by training, got 'runs/nothing': run ctxvision train first.
    """
