"""The miniature's pictures: exact labels, seeded, and thin enough in their parts for fine strides to matter."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from converters.errors import CaffeError
from repro.data.images import VOID, load_image, load_labels
from repro.miniature.dataset import MARKER, NOTICE, write_dataset
from repro.miniature.draw import CLASSES, draw_object, draw_scene, draw_single


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([0, number])) for number in range(60)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("miniature") / "set", seed=3, train=4, val=2)


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_seed_gives_the_same_pixels_and_another_seed_other_ones(scenes):
    again = draw_scene(np.random.default_rng([0, 0]))
    assert np.array_equal(again[0], scenes[0][0]) and np.array_equal(again[1], scenes[0][1])
    assert not any(scenes[0][0].shape == other.shape and np.array_equal(scenes[0][0], other) for other, _ in scenes[1:])
    first, same, other = (draw_single(np.random.default_rng(seed), 3)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_no_global_random_state_is_used(scenes):
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    assert np.array_equal(draw_scene(np.random.default_rng([0, 1]))[0], scenes[1][0])
    assert np.array_equal(np.random.get_state()[1], before)


def test_scenes_vary_in_size_and_hold_every_class_and_nothing_else(scenes):
    for photograph, labels in scenes:
        assert photograph.dtype == labels.dtype == np.uint8
        assert photograph.shape == (*labels.shape, 3)
        assert min(labels.shape) >= 112 and max(labels.shape) <= 160
    assert len({labels.shape for _, labels in scenes}) > 30
    assert any(labels.shape[0] % 2 and labels.shape[1] % 2 for _, labels in scenes)
    present = set(np.unique(np.concatenate([labels.ravel() for _, labels in scenes])))
    assert present == {*range(len(CLASSES)), VOID}


def test_void_is_thin_and_lies_between_two_labels(scenes):
    labelled = np.concatenate([labels.ravel() for _, labels in scenes])
    assert 0.03 < np.mean(labelled == VOID) < 0.2
    for _, labels in scenes:
        # Void is drawn on the pixel next to an object; a later object may hide the object, but not its own outline.
        void = labels == VOID
        beside = ndimage.binary_dilation((labels != VOID) & (labels != 0))
        assert np.mean(beside[void]) > 0.9
        # An object never touches the background, nor another object: one pixel of void is between them.
        for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            touching = (a != b) & (a != VOID) & (b != VOID)
            assert not touching.any()


@pytest.mark.parametrize("index", range(1, len(CLASSES)), ids=CLASSES[1:])
def test_an_object_covers_what_it_changes_and_keeps_its_thin_parts(index):
    rng = np.random.default_rng(index)
    picture = np.full((128, 128, 3), 0.5, np.float32)
    cover = draw_object(rng, picture, index, np.array([64, 64]), 100)
    assert np.array_equal(picture[cover == 0], np.full((np.sum(cover == 0), 3), 0.5, np.float32))
    inside = cover > 0.5
    assert 0.05 < inside.mean() < 0.4
    # What an opening with an 11-pixel square takes away is less than 11 pixels wide.
    thin = inside & ~ndimage.binary_opening(inside, np.ones((11, 11)))
    assert thin.sum() > 0.25 * inside.sum()
    # Its texture and light vary: an object is never one flat colour.
    assert picture[inside].std(axis=0).max() > 0.03


def test_single_objects_come_in_any_size_and_are_not_background_alone():
    for index in range(1, len(CLASSES)):
        photograph, _ = draw_single(np.random.default_rng(index), index, size=97)
        assert photograph.shape == (97, 97, 3) and photograph.dtype == np.uint8
        assert photograph.std() > 5


def test_finer_strides_bound_mean_iu_well_apart(scenes):
    """The paper's upper bounds (CVPR, section 4): truth downsampled and upsampled again, here by the nearest pixel."""

    def bound(stride):
        hits, unions = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
        for _, labels in scenes:
            rows, columns = (
                np.minimum(np.arange(length) // stride * stride + stride // 2, length - 1) for length in labels.shape
            )
            coarse = labels[np.ix_(rows, columns)]
            coarse = np.where(coarse == VOID, 0, coarse)
            for k in range(len(CLASSES)):
                truth, guess = labels == k, (coarse == k) & (labels != VOID)
                hits[k] += np.sum(truth & guess)
                unions[k] += np.sum(truth | guess)
        return np.mean(hits / unions)

    at_32, at_16, at_8 = bound(32), bound(16), bound(8)
    assert at_16 - at_32 > 0.08
    assert at_8 - at_16 > 0.08


def test_a_data_set_has_voc_layout(dataset):
    assert (dataset / "classes.txt").read_text().splitlines() == list(CLASSES)
    assert "NOT the paper's" in (dataset / NOTICE).read_text()
    for split, count in (("train", 4), ("val", 2)):
        names = (dataset / f"ImageSets/Segmentation/{split}.txt").read_text().splitlines()
        assert len(names) == len(set(names)) == count
        for number, name in enumerate(names):
            photograph = load_image(dataset / f"JPEGImages/{name}.jpg")
            labels = load_labels(dataset / f"SegmentationClass/{name}.png")
            drawn, truth = draw_scene(np.random.default_rng([3, split == "val", number]))
            assert np.array_equal(labels, truth)
            assert np.abs(photograph.astype(int) - drawn).mean() < 15
            assert Image.open(dataset / f"SegmentationClass/{name}.png").mode == "P"


def test_a_complete_data_set_is_kept_and_an_incomplete_one_drawn_again(dataset):
    drawn = files(dataset)
    stamps = {path: (dataset / path).stat().st_mtime_ns for path in drawn}
    write_dataset(dataset, seed=3, train=4, val=2)
    assert {path: (dataset / path).stat().st_mtime_ns for path in drawn} == stamps
    for broken in (MARKER, "JPEGImages/train_00002.jpg", "ImageSets/Segmentation/val.txt"):
        (dataset / broken).unlink()
        write_dataset(dataset, seed=3, train=4, val=2)
        assert files(dataset) == drawn


def test_another_seed_or_count_draws_another_set_and_leaves_nothing_of_the_last(tmp_path):
    write_dataset(tmp_path / "a", seed=0, train=3, val=1)
    first = files(tmp_path / "a")
    write_dataset(tmp_path / "a", seed=1, train=2, val=1)
    second = files(tmp_path / "a")
    assert json.loads((tmp_path / "a" / MARKER).read_text())["seed"] == 1
    assert second.keys() < first.keys()
    photographs = [path for path in second if path.suffix == ".jpg"]
    assert len(photographs) == 3 and all(second[path] != first[path] for path in photographs)
    assert files(write_dataset(tmp_path / "b", seed=1, train=2, val=1)) == second


def test_other_peoples_files_are_never_drawn_over(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    precious = tmp_path / "JPEGImages/2007_000033.jpg"
    precious.write_bytes(b"precious")
    with pytest.raises(CaffeError, match="holds other files"):
        write_dataset(tmp_path, train=1, val=1)
    with pytest.raises(CaffeError, match="is a file"):
        write_dataset(precious, train=1, val=1)
    assert files(tmp_path) == {precious.relative_to(tmp_path): b"precious"}
