"""Where data sets and weights are on this machine: what was said, else what `repro fetch` has put there."""

from pathlib import Path

import reference
from converters.errors import CaffeFileError
from reference.families import FAMILIES
from reference.weights import DOWNLOADS

FOLDER = "data"

# {name of a set: what its folder itself holds}.
MARKS = {source.name: source.mark for family in FAMILIES.values() for source in family.sources.values()}
MARKS["voc2012"] = MARKS["voc2011"]  # no net is trained or scored on it, but its test set is labelled for VOC's server


class AtHand:
    """Finds sets and weights by the names of `repro fetch`.

    folder: where `repro fetch` puts them; given: {name: path} of those that are elsewhere.
    """

    def __init__(self, folder=FOLDER, given=()):
        self.folder, self.given = Path(folder), dict(given)
        for name, path in self.given.items():
            if name not in MARKS:
                reference.download(name)
            if not Path(path).exists():
                raise CaffeFileError(path, "no such file or directory")

    def find(self, name):
        """The path of a set's folder or of a file of weights, or None."""
        place = self.place(name)
        if name in MARKS:
            return set_folder(name, place)
        return place if place.is_file() else None

    def place(self, name):
        """The path where a set or a file of weights is looked for."""
        return Path(self.given.get(name, self.folder / (name if name in MARKS else reference.download(name).file)))

    def missing(self, *names):
        """Which of these are not at hand and what to do about it, a line; None where all are."""
        gone = [name for name in names if self.find(name) is None]
        if not gone:
            return None
        fetched = [name for name in gone if name in DOWNLOADS]
        others = [f"give --at {name}=DIR" for name in gone if name not in DOWNLOADS]
        return f"no {', '.join(gone)}: " + ", ".join(([f"repro fetch {' '.join(fetched)}"] if fetched else []) + others)


def set_folder(name, root):
    """The folder of a data set within `root`, at most three folders down, or None."""
    for depth in range(4):
        found = sorted(Path(root).glob("*/" * depth + MARKS[name]))
        if found:
            return found[0].parent
    return None
