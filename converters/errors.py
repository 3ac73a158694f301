"""What goes wrong with a user's files and nets, said in one line: the command line prints it and exits with status 2."""


class CaffeError(ValueError):
    """A mistake in what was asked or given; `str()` is one line that says what is wrong, where, and what to do."""


class CaffeFileError(CaffeError):
    """A file that cannot be read as what it should be.

    Arguments: the path, the reason, and where in the file (a byte offset, a line, a layer) when that is known.
    """

    def __init__(self, path, reason, where=None):
        self.path, self.reason, self.where = path, reason, where
        super().__init__(f"{path}: {f'{where}: ' if where is not None else ''}{reason}")
