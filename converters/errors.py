"""What goes wrong with a user's files and nets, said in one line: the command line prints it and exits with status 2."""

import os
from collections.abc import Iterable
from difflib import get_close_matches


class CaffeError(ValueError):
    """A mistake in what was asked or given; `str()` is one line that says what is wrong, where, and what to do."""


class CaffeFileError(CaffeError):
    """A file that cannot be read as what it should be.

    Arguments: the path, the reason, and where in the file (a byte offset, a line, a layer) when that is known.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, where: object = None):
        self.path, self.reason, self.where = path, reason, where
        super().__init__(f"{path}: {f'{where}: ' if where is not None else ''}{reason}")


def counted(number: int, noun: str) -> str:
    """"1 bottom", "2 bottoms"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def instead(name: str, known: Iterable[str]) -> str:
    """What to say after a name that is not one of `known`: "; did you mean 'conv1_1'?", or all of them if none is near."""
    known = list(known)
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """"; did you mean 'conv1_1'?" of the names nearest to one that is not known, or nothing."""
    by_lower = {other.lower(): other for other in known}
    near = [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=3)]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
