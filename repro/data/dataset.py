"""What all data sets share: a list of ids, a photograph and a label map for each id, and errors that name the file."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import reference
from converters.errors import CaffeError, CaffeFileError
from converters.files import did_you_mean_file
from reference.families import VOC
from repro.data.images import VOID, load_image, load_labels, preprocess, size_of


class Source(NamedTuple):
    """A further input of a net, besides a photograph and its labels.

    `file` is a path inside the set's folder, with {} for the id. `read` takes the full path and returns an array HxW or
    HxWxC. The net gets that array with its channels reversed and `mean` subtracted.
    """

    file: str
    read: Callable
    mean: tuple | float = 0


class Sample(NamedTuple):
    """One image of a data set: RGB uint8 HxWx3, and labels uint8 HxW, each the number of a class or 255 (void)."""

    id: str
    image: np.ndarray
    labels: np.ndarray


@dataclass
class Dataset:
    """Images and their labels, in the list's order: `len(dataset)`, `dataset[i]` -> `Sample`, read from disk each time.

    Opening a set raises CaffeError or CaffeFileError if the list, or a file that the list names, is missing. Reading a
    sample does if a file is damaged, if a label map and its image differ in size, or if a label is neither a class nor void.
    """

    root: Path
    list_file: Path  # one id per line
    image_file: str  # inside root (or absolute), with {} for the id
    labels_file: str
    classes: list[str]  # a name's place in the list is its label
    _: KW_ONLY
    read_labels: Callable = load_labels  # path -> integers HxW
    mean: tuple = VOC.mean  # preprocessing subtracts it; in the order of `channels`
    channels: str = "bgr"  # or "rgb": the order of the channels that nets are fed
    factor: float = 1  # preprocessing multiplies by it, after the mean is subtracted
    image_blob: str | None = "data"  # the blob that the photograph is fed as; None: it is not fed
    labels_blob: str | None = "label"
    sources: dict = field(default_factory=dict)  # {blob: Source}, further inputs of nets
    scale: float = 1  # resizes the image (bilinear) and its labels (nearest) by this factor
    limit: int | None = None  # use only so many images, from the start of the list
    ids: list[str] = field(init=False)

    def __post_init__(self):
        self.root = Path(self.root)
        if not 0 < self.scale <= 1:
            raise CaffeError(f"scale is {self.scale}; it needs to be above 0 and at most 1")
        if self.limit is not None and self.limit < 1:
            raise CaffeError(f"limit is {self.limit}; it needs to be at least 1")
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
        image, labels = load_image(self.image_path(index), upright=False), self.labels(index)
        if image.shape[:2] != labels.shape:
            raise CaffeFileError(self.labels_path(index),
                                 f"is {size_of(labels)}, but {self.image_path(index)} is {size_of(image)}")
        return Sample(self.ids[index], self._resize(image), self._resize(labels))

    def blobs(self, index):
        """What nets are fed for one image: {blob: float32 1xCxHxW}, with the labels (1x1xHxW).

        The mean is subtracted from photographs. Raises the errors of reading a sample.
        """
        sample, blobs = self[index], {}
        if self.image_blob:
            blobs[self.image_blob] = preprocess(sample.image, self.mean, self.channels, self.factor)
        if self.labels_blob:
            blobs[self.labels_blob] = preprocess(sample.labels[:, :, None], mean=0)
        for blob, source in self.sources.items():
            path = self.root / source.file.format(sample.id)
            array = self._resize(source.read(path))
            if array.shape[:2] != sample.labels.shape:
                raise CaffeFileError(path, f"is {size_of(array)}, but the labels are {size_of(sample.labels)}")
            blobs[blob] = preprocess(np.atleast_3d(array), source.mean)
        return blobs

    def image_path(self, index):
        return self.root / self.image_file.format(self.ids[index])

    def labels_path(self, index):
        return self.root / self.labels_file.format(self.ids[index])

    def labels(self, index):
        """The label map of one image, uint8 HxW, at the size on disk."""
        path = self.labels_path(index)
        return checked_labels(path, self.read_labels(path), self.num_classes)

    def _resize(self, array):
        """`array` resized by `scale`: images bilinearly; labels (uint8 HxW) to the nearest, so that no new label appears."""
        if self.scale == 1:
            return array
        height, width = (max(1, round(side * self.scale)) for side in array.shape[:2])
        is_labels = array.ndim == 2 and array.dtype == np.uint8
        resampling = Image.Resampling.NEAREST if is_labels else Image.Resampling.BILINEAR
        return np.array(Image.fromarray(array).resize((width, height), resampling))

    def _require_files(self, lines):
        files = (self.image_file, self.labels_file, *(source.file for source in self.sources.values()))
        missing = [
            (line, name.format(id))
            for line, id in lines
            for name in files
            if not (self.root / name.format(id)).is_file()
        ]
        if missing:
            line, name = missing[0]
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise CaffeFileError(self.list_file, f"there is no {name} in {self.root}{others}", where=f"line {line}")


def checked_labels(path, labels, num_classes):
    """Labels as uint8 HxW. Raises CaffeFileError for the first one that is neither a class nor void."""
    wrong = (labels < 0) | (labels >= num_classes) & (labels != VOID)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        reason = (f"label {labels[row, column]} is neither one of the {num_classes} classes (0 to {num_classes - 1}) "
                  f"nor {VOID} (void)")
        raise CaffeFileError(path, reason, where=f"row {row}, column {column}")
    return labels.astype(np.uint8)


def read_list(path):
    """Read a list of ids, one per line: [(line number, id), ...]. Blank lines are counted and skipped.

    Raises CaffeFileError for a missing or empty list, for an id that comes twice, and for a line with more than an id.
    """
    lines = [(line, text.strip()) for line, text in enumerate(read_text(path).splitlines(), start=1) if text.strip()]
    if not lines:
        raise CaffeFileError(path, "the list is empty")
    first = {}
    for line, id in lines:
        if id.split() != [id]:
            raise CaffeFileError(path, f"{id!r} is not one id; give one id per line", where=f"line {line}")
        if first.setdefault(id, line) != line:
            raise CaffeFileError(path, f"{id} is already on line {first[id]}; each id may come once", where=f"line {line}")
    return lines


def read_classes(path):
    """Read the names of a set's classes, one per line; the first is class 0."""
    classes = [name.strip() for name in read_text(path).splitlines() if name.strip()]
    if not 1 <= len(classes) <= VOID:
        raise CaffeFileError(path, f"names {len(classes)} classes; a set can have 1 to {VOID}")
    return classes


def published_list(path, split):
    """The path of a set's own list; if the set has none, the path of the published list `split`."""
    published = Path(reference.__file__).parent / "splits" / f"{split}.txt"
    return published if not path.exists() and published.exists() else path


def read_text(path):
    """The text of a file. Raises CaffeFileError if it is missing or is not text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CaffeFileError(path, f"no such file{did_you_mean_file(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CaffeFileError(path, f"cannot be read as text: {error}") from error
