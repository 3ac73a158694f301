import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import reference
from converters.errors import CaffeError, CaffeFileError
from repro.data import open_sbd, open_voc
from repro.data.dataset import read_classes, read_list
from repro.data.images import save_labels
from repro.scoring.metrics import Confusion


def draw(seed, height=30, width=40):
    numbers = np.random.RandomState(seed)
    labels = numbers.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
    return numbers.randint(0, 256, (height, width, 3)).astype(np.uint8), labels


def write_list(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{id}\n" for id in ids))


@pytest.fixture
def voc(tmp_path):
    """A set of three images and three classes in VOC's layout."""
    for seed, id in enumerate(("a", "b", "c")):
        image, labels = draw(seed)
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "JPEGImages" / f"{id}.jpg", quality=95)
        save_labels(tmp_path / "SegmentationClass" / f"{id}.png", labels)
    write_list(tmp_path / "ImageSets" / "Segmentation" / "train.txt", ["c", "a", "b"])
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    return tmp_path


@pytest.fixture
def sbd(tmp_path):
    """Two images in SBD's layout: a struct GTcls with the fields that the original files have."""
    for folder in ("img", "cls"):
        (tmp_path / folder).mkdir()
    for seed, id in enumerate(("2008_000002", "2008_000003")):
        image, labels = draw(seed)
        Image.fromarray(image).save(tmp_path / "img" / f"{id}.jpg")
        truth = {"Boundaries": np.zeros((20, 1)), "Segmentation": labels % 255, "CategoriesPresent": np.array([1, 2])}
        savemat(tmp_path / "cls" / f"{id}.mat", {"GTcls": truth})
    write_list(tmp_path / "train.txt", ["2008_000003", "2008_000002"])
    return tmp_path


def refusal(act, *arguments, **options):
    """The one line with which `act` refuses."""
    with pytest.raises(CaffeError) as caught:
        act(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_voc_samples_are_the_files_in_list_order(voc):
    dataset = open_voc(voc, "train")
    assert dataset.ids == ["c", "a", "b"] and len(dataset) == 3
    assert dataset.classes == ["sky", "road", "car"] and dataset.num_classes == 3
    for sample, (id, seed) in zip(dataset, [("c", 2), ("a", 0), ("b", 1)], strict=True):
        assert sample.id == id
        assert np.array_equal(sample.labels, draw(seed)[1]) and sample.labels.dtype == np.uint8
        assert np.array_equal(sample.image, np.array(Image.open(voc / "JPEGImages" / f"{id}.jpg")))


def test_photographs_stay_as_they_are_stored_so_that_labels_lie_on_them(voc):
    """The release turns neither, whatever the EXIF data says."""
    _, labels = draw(7, 30, 30)
    image = np.repeat(np.tile(np.arange(30, dtype=np.uint8) * 8, (30, 1))[:, :, None], 3, axis=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(voc / "JPEGImages" / "a.jpg", quality=95, exif=exif)
    save_labels(voc / "SegmentationClass" / "a.png", labels)
    sample = open_voc(voc, "train")[1]
    assert np.abs(sample.image.astype(int) - image).max() < 8


def test_voc_classes_without_a_file_are_the_21(voc):
    (voc / "classes.txt").unlink()
    classes = open_voc(voc, "train").classes
    assert len(classes) == 21 and classes[0] == "background" and classes[15] == "person"


def test_a_published_split_needs_no_list_in_the_set(voc):
    assert len(reference.split("seg11valid")) == 736
    line = refusal(open_voc, voc, "seg11valid")
    assert "seg11valid.txt: line 1: there is no JPEGImages/2007_000033.jpg" in line and "(and 1471 more)" in line


def test_limit_takes_the_head_and_asks_for_no_more_files(voc):
    (voc / "JPEGImages" / "b.jpg").unlink()
    assert open_voc(voc, "train", limit=2).ids == ["c", "a"]
    assert "limit is 0" in refusal(open_voc, voc, "train", limit=0)


def test_scale_resizes_images_smoothly_and_labels_to_existing_values(voc):
    sample = open_voc(voc, "train", scale=0.5)[1]
    whole = open_voc(voc, "train")[1]
    assert sample.image.shape == (15, 20, 3) and sample.labels.shape == (15, 20)
    assert np.array_equal(sample.labels, whole.labels[1::2, 1::2])
    assert sample.image.std() < 0.8 * whole.image.std()
    assert "scale is 2" in refusal(open_voc, voc, "train", scale=2)


def test_sbd_reads_the_class_segmentation(sbd):
    dataset = open_sbd(sbd)
    assert dataset.ids == ["2008_000003", "2008_000002"] and dataset.num_classes == 21
    assert np.array_equal(dataset[0].labels, draw(1)[1] % 255) and dataset[0].labels.dtype == np.uint8
    assert dataset[1].image.shape == (30, 40, 3)


def test_missing_directories_and_lists_are_named(voc, sbd):
    assert refusal(open_voc, voc / "nowhere", "train") == f"{voc / 'nowhere'}: no such directory"
    assert refusal(open_voc, voc, "trian").endswith("trian.txt: no such file; did you mean 'train.txt'?")
    assert refusal(open_sbd, sbd, "test") == f"{sbd / 'test.txt'}: no such file"


def test_a_list_that_names_missing_files_says_line_and_count(voc):
    (voc / "JPEGImages" / "a.jpg").unlink()
    line = refusal(open_voc, voc, "train")
    assert line.endswith(f"train.txt: line 2: there is no JPEGImages/a.jpg in {voc}")
    (voc / "SegmentationClass" / "b.png").unlink()
    assert refusal(open_voc, voc, "train").endswith("(and 1 more)")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the list is empty"),
        ("\n\n", "the list is empty"),
        ("a\n\nb\na\n", "line 4: a is already on line 1"),
        ("a\nb 1\n", "line 2: 'b 1' is not one id"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_bad_lists_are_refused(voc, text, message):
    path = voc / "ImageSets" / "Segmentation" / "train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal(open_voc, voc, "train").startswith(f"{path}: {message}")


def test_lists_may_have_blank_lines_and_foreign_line_ends(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a\r\n\r\n b \r\nc")
    assert read_list(tmp_path / "list.txt") == [(1, "a"), (3, "b"), (4, "c")]


def test_classes_that_no_label_could_number_are_refused(tmp_path):
    for names in ("", "\n".join(f"class{k}" for k in range(256))):
        (tmp_path / "classes.txt").write_text(names)
        assert "a set can have 1 to 255" in refusal(read_classes, tmp_path / "classes.txt")


def test_labels_of_another_size_are_refused(voc):
    save_labels(voc / "SegmentationClass" / "a.png", np.zeros((40, 30), np.uint8))
    assert refusal(open_voc(voc, "train").__getitem__, 1) == (
        f"{voc / 'SegmentationClass' / 'a.png'}: is 30x40, but {voc / 'JPEGImages' / 'a.jpg'} is 40x30"
    )


def test_a_label_outside_the_classes_is_refused_with_its_place(voc):
    labels = np.zeros((30, 40), np.uint8)
    labels[7, 11] = 30
    save_labels(voc / "SegmentationClass" / "a.png", labels)
    line = refusal(open_voc(voc, "train").__getitem__, 1)
    assert line.endswith("a.png: row 7, column 11: label 30 is neither one of the 3 classes (0 to 2) nor 255 (void)")


def test_damaged_files_are_named(voc):
    for path in (voc / "JPEGImages" / "c.jpg", voc / "SegmentationClass" / "a.png"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    dataset = open_voc(voc, "train")
    assert "c.jpg: cannot be read as a photograph: " in refusal(dataset.__getitem__, 0)
    assert "a.png: cannot be read as a label image: " in refusal(dataset.__getitem__, 1)
    assert dataset[2].id == "b"


@pytest.mark.parametrize(
    "content, message",
    [
        ({"GTinst": {"Segmentation": np.zeros((30, 40), np.uint8)}}, "has no variable GTcls; it has GTinst"),
        ({"GTcls": {"Boundaries": np.zeros((30, 40), np.uint8)}}, "GTcls has no Segmentation"),
        ({"GTcls": np.zeros((30, 40), np.uint8)}, "GTcls has no Segmentation"),
        (
            {"GTcls": {"Segmentation": np.zeros((30, 40))}},
            "the Segmentation is float64 of shape 30x40; it needs integers",
        ),
        (
            {"GTcls": {"Segmentation": np.full((30, 40), -1)}},
            "row 0, column 0: label -1 is neither one of the 21 classes",
        ),
        ({"GTcls": {"Segmentation": np.zeros((9, 9), np.uint8)}}, "is 9x9, but .*2008_000003.jpg is 40x30"),
    ],
)
def test_mat_files_of_other_content_are_refused(sbd, content, message):
    savemat(sbd / "cls" / "2008_000003.mat", content)
    with pytest.raises(CaffeFileError, match=f"2008_000003.mat: {message}"):
        open_sbd(sbd)[0]


def test_damaged_mat_files_are_named(sbd):
    path = sbd / "cls" / "2008_000003.mat"
    whole = path.read_bytes()
    for damaged in (b"", b"not a mat file", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        assert "2008_000003.mat: " in refusal(open_sbd(sbd).__getitem__, 0)


def test_real_voc_files(shared):
    dataset = open_voc(shared("voc-sample"), "train")
    assert dataset.ids == ["2007_000129", "2011_000003", "2011_000006", "2011_000025"]
    for sample, id in zip(dataset, dataset.ids, strict=True):
        stored = Image.open(shared("voc-sample") / "SegmentationClass" / f"{id}.png")
        assert np.array_equal(sample.labels, np.array(stored))
        assert sample.image.shape == (*sample.labels.shape, 3) and 255 in sample.labels


def test_real_street_photographs_and_a_simple_predictor(shared):
    dataset = open_voc(shared("camvid"), "val", limit=5)
    assert len(open_voc(shared("camvid"), "train")) == 367 and dataset.classes[8] == "car"
    confusion, right, counted = Confusion(dataset.num_classes), 0, 0
    for sample in dataset:
        rows = np.arange(len(sample.labels))[:, None] // (len(sample.labels) // 3 + 1)
        guess = np.broadcast_to(np.array([0, 1, 3])[rows], sample.labels.shape)
        confusion.add(sample.labels, guess)
        right += np.count_nonzero((sample.labels == guess) & (sample.labels != 255))
        counted += np.count_nonzero(sample.labels != 255)
    assert confusion.scores().pixel_acc == right / counted > 0.2
