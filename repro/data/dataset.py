"""What all data sets share: a list of ids, a photograph and a label map for each, and errors that name the file."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from converters.errors import CaffeError, CaffeFileError
from reference import means
from repro.images import VOID, load_image, load_labels


class Sample(NamedTuple):
    """One image of a data set: RGB uint8 HxWx3, and labels uint8 HxW, each the number of a class or 255 (void)."""

    id: str
    image: np.ndarray
    labels: np.ndarray


@dataclass
class Dataset:
    """Images with labels in list order: `len(dataset)`, `dataset[i]` -> `Sample`, read from disk each time.

    Opening it raises CaffeError or CaffeFileError where the list or a file that it names is missing; reading a sample,
    where a file is damaged, the label map is not of its image's size, or a label is neither a class nor void.
    """

    root: Path
    list_file: Path  # one id a line
    image_file: str  # inside root, with {} for the id
    labels_file: str
    classes: list[str]  # their place is their label
    _: KW_ONLY
    read_labels: Callable = load_labels  # path -> integers HxW
    mean: tuple = means.VOC  # what preprocessing subtracts, BGR
    scale: float = 1  # of the size on disk, for the image (bilinear) and its labels (nearest)
    limit: int | None = None  # use only so many, from the head of the list
    ids: list[str] = field(init=False)

    def __post_init__(self):
        self.root = Path(self.root)
        if not 0 < self.scale <= 1:
            raise CaffeError(f"scale {self.scale}: give a factor above 0 and at most 1")
        if self.limit is not None and self.limit < 1:
            raise CaffeError(f"limit {self.limit}: use at least one image")
        if not self.root.is_dir():
            raise CaffeFileError(self.root, "no such directory")
        lines = read_list(self.list_file)[: self.limit]
        self._require_files(lines)
        self.ids = [id for _, id in lines]

    @property
    def num_classes(self):
        return len(self.classes)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        image, labels = load_image(self.image_path(index)), self.labels(index)
        if image.shape[:2] != labels.shape:
            ours, other = (f"{array.shape[1]}x{array.shape[0]}" for array in (labels, image))
            raise CaffeFileError(self.labels_path(index), f"is {ours}, but {self.image_path(index)} is {other}")
        image, labels = self._resize(image, Image.Resampling.BILINEAR), self._resize(labels, Image.Resampling.NEAREST)
        return Sample(self.ids[index], image, labels)

    def image_path(self, index):
        return self.root / self.image_file.format(self.ids[index])

    def labels_path(self, index):
        return self.root / self.labels_file.format(self.ids[index])

    def labels(self, index):
        """The label map of one image, uint8 HxW, at the size on disk."""
        path, n = self.labels_path(index), self.num_classes
        labels = self.read_labels(path)
        wrong = (labels < 0) | (labels >= n) & (labels != VOID)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            reason = f"label {labels[row, column]} is neither one of the {n} classes (0 to {n - 1}) nor {VOID} (void)"
            raise CaffeFileError(path, reason, where=f"row {row}, column {column}")
        return labels.astype(np.uint8)

    def _resize(self, array, resampling):
        if self.scale == 1:
            return array
        height, width = (max(1, round(side * self.scale)) for side in array.shape[:2])
        return np.array(Image.fromarray(array).resize((width, height), resampling))

    def _require_files(self, lines):
        missing = [
            (line, name.format(id))
            for line, id in lines
            for name in (self.image_file, self.labels_file)
            if not (self.root / name.format(id)).is_file()
        ]
        if missing:
            line, name = missing[0]
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise CaffeFileError(self.list_file, f"there is no {name} in {self.root}{others}", where=f"line {line}")


def read_list(path):
    """Read a list of ids, one a line: [(line number, id), ...]; blank lines count but name nothing.

    Raises CaffeFileError on a missing or empty list, on an id given twice and on a line that holds more than an id.
    """
    lines = [(line, text.strip()) for line, text in enumerate(_read_text(path).splitlines(), start=1) if text.strip()]
    if not lines:
        raise CaffeFileError(path, "the list is empty")
    first = {}
    for line, id in lines:
        if id.split() != [id]:
            raise CaffeFileError(path, f"{id!r} is not one id", where=f"line {line}")
        if first.setdefault(id, line) != line:
            raise CaffeFileError(path, f"{id} is already on line {first[id]}", where=f"line {line}")
    return lines


def read_classes(path):
    """Read the names of a set's classes, one a line, the first being class 0."""
    classes = [name.strip() for name in _read_text(path).splitlines() if name.strip()]
    if not 1 <= len(classes) <= VOID:
        raise CaffeFileError(path, f"names {len(classes)} classes; there may be 1 to {VOID}")
    return classes


def _read_text(path):
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CaffeFileError(path, "no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CaffeFileError(path, f"cannot be read as text: {error}") from error
