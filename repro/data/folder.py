"""Images in plain folders: photographs with label images, only label images, or only photographs."""

from pathlib import Path

from converters.errors import CaffeError, CaffeFileError
from repro.data.dataset import Dataset, Sample, read_classes, read_list
from repro.data.images import load_image, load_labels, preprocess
from repro.data.sbd import open_sbd
from repro.data.voc import open_voc, voc_classes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".JPG", ".JPEG", ".PNG")


def open_any(root, split, classes=None, labelled=True, **options):
    """Open a set of one's own, or VOC's or SBD's, in whichever of these layouts its folder has.

    `open_folder`'s images and labels, label images alone (`LabelFolder`), SBD's (`open_sbd`), else VOC's (`open_voc`).
    classes: a file that names them. labelled: false lets a set in VOC layout have photographs alone (`Photographs`).
    """
    if (root / "labels").is_dir() and (root / "images").is_dir():
        return open_folder(root, split, classes, **options)
    if any(root.glob("*.png")):
        return LabelFolder(root, classes, options.get("limit"))
    if not labelled and not (root / "SegmentationClass").is_dir() and (root / "JPEGImages").is_dir():
        list_file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        return Photographs(root, list_file, "JPEGImages/{}.jpg", voc_classes(root), **options)
    dataset = (open_sbd if (root / "cls").is_dir() else open_voc)(root, split, **options)
    if classes:
        dataset.classes = read_classes(classes)
    return dataset


def open_folder(root, split, classes=None, **options):
    """Open a folder with SPLIT.txt, images/ID.jpg (or another suffix, the same for all) and labels/ID.png.

    classes: a file with their names, one per line; default: ROOT/classes.txt, else VOC's. options: those of `Dataset`.
    """
    root = Path(root)
    list_file = root / f"{split}.txt"
    first = read_list(list_file)[0][1]
    suffix = next((suffix for suffix in SUFFIXES if (root / f"images/{first}{suffix}").exists()), ".jpg")
    return Dataset(root, list_file, f"images/{{}}{suffix}", "labels/{}.png", _classes(root, classes), **options)


class LabelFolder(Dataset):
    """The label images of a folder, ID.png, in alphabetical order. Without photographs there are no samples."""

    def __init__(self, root, classes=None, limit=None):
        self.root, self.labels_file, self.read_labels = Path(root), "{}.png", load_labels
        if not self.root.is_dir():
            raise CaffeFileError(self.root, "no such directory")
        self.ids = sorted(path.stem for path in self.root.glob("*.png"))[:limit]
        if not self.ids:
            raise CaffeError(f"{self.root}: holds no label images (ID.png)")
        self.classes = _classes(self.root, classes)

    def __getitem__(self, index):
        raise CaffeError(f"{self.root}: holds only label images; put photographs into JPEGImages/ (VOC's layout) or images/")


class Photographs(Dataset):
    """The photographs of a test set whose labels are secret: the labels of a `Sample` are None."""

    def __init__(self, root, list_file, image_file, classes, **options):
        super().__init__(root, list_file, image_file, image_file, classes, labels_blob=None, **options)

    def __getitem__(self, index):
        return Sample(self.ids[index], self._resize(load_image(self.image_path(index))), None)

    def blobs(self, index):
        return {self.image_blob: preprocess(self[index].image, self.mean, self.channels, self.factor)}


def _classes(root, path):
    return read_classes(path) if path else voc_classes(root)
