"""NYUDv2, SIFT Flow and PASCAL-Context, from files written as the originals are."""

import numpy as np
import pytest
from helpers.release_data import SCENES, random_images, save_mats, write_nyud, write_pascalcontext, write_siftflow
from PIL import Image
from scipy.io import savemat

import reference
from converters.errors import CaffeError, CaffeFileError
from repro.data import open_nyud, open_pascalcontext, open_siftflow


def bgr(image, mean):
    """What the release's layers make of a photograph, with the mean for blue, green, red."""
    return image[:, :, ::-1].astype(np.float32).transpose(2, 0, 1) - np.array(mean, np.float32)[:, None, None]


def test_nyud_feeds_what_the_release_feeds(tmp_path):
    color, hha, depth, labels = write_nyud(tmp_path)
    dataset = open_nyud(tmp_path, "trainval", {"a": "color", "b": "hha", "c": "depth", "label": "label"})
    assert dataset.ids == ["5001", "5002", "5003"] and dataset.num_classes == 40
    for index, id in enumerate(dataset.ids):
        blobs = {name: blob[0].numpy() for name, blob in dataset.blobs(index).items()}
        assert blobs["a"] == pytest.approx(bgr(color[id], (116.190, 97.203, 92.318)), abs=1e-4)
        # HHA is not turned around.
        mean = np.array((132.431, 94.076, 118.477))[:, None, None]
        assert blobs["b"] == pytest.approx(hha[id].astype(float).transpose(2, 0, 1) - mean, abs=1e-4)
        assert blobs["c"][0] == pytest.approx(np.log(depth[id].astype(float)) - 7.844, abs=1e-5)
        assert np.array_equal(blobs["label"][0], labels[id] - np.uint8(1))  # 0 becomes 255
        assert {39, 255} <= set(blobs["label"].flatten())
        assert np.array_equal(dataset[index].image, color[id])


def test_nyud_feeds_what_is_asked_for(tmp_path):
    write_nyud(tmp_path, "test")
    assert open_nyud(tmp_path, "test").blobs(0).keys() == {"data", "label"}
    only = open_nyud(tmp_path, "test", {"data": "hha", "label": "label"}, scale=0.5)
    assert {name: tuple(blob.shape) for name, blob in only.blobs(0).items()} == {
        "data": (1, 3, 20, 26), "label": (1, 1, 20, 26)}
    both = open_nyud(tmp_path, "test", {"color": "color", "depth": "depth", "label": "label"}, scale=0.5)
    assert both.blobs(0)["depth"].shape == (1, 1, 20, 26)
    with pytest.raises(CaffeError, match="no 'disparity'.*color, depth, hha, label"):
        open_nyud(tmp_path, "test", {"data": "disparity"})


def test_nyud_damage_is_named(tmp_path):
    write_nyud(tmp_path)
    tops = {"color": "color", "depth": "depth", "label": "label"}
    depth = np.full((40, 52), 2000, np.uint16)
    depth[3, 4] = 0
    Image.fromarray(depth).save(tmp_path / "data" / "depth" / "img_5001.png")
    Image.fromarray(depth[:30] + 1).save(tmp_path / "data" / "depth" / "img_5002.png")
    Image.fromarray(np.zeros((40, 52, 3), np.uint8)).save(tmp_path / "data" / "depth" / "img_5003.png")
    dataset = open_nyud(tmp_path, "trainval", tops)
    errors = "img_5001.png: row 3, column 4: the depth is 0", "52x30, but the labels are 52x40", "RGB pixels"
    for index, said in enumerate(errors):
        with pytest.raises(CaffeFileError, match=said):
            dataset.blobs(index)
    save_mats(tmp_path / "segmentation", "segmentation", {"5001": np.full((40, 52), 41, np.uint8)}, "img_")
    with pytest.raises(CaffeFileError, match="label 40 is neither one of the 40 classes"):
        dataset[0]
    savemat(tmp_path / "segmentation" / "img_5001.mat", {"segmentation": np.full((40, 52), 1.5)})
    with pytest.raises(CaffeFileError, match="float64 of shape 40x52; it needs whole numbers"):
        dataset[0]
    (tmp_path / "data" / "depth" / "img_5002.png").unlink()
    with pytest.raises(CaffeFileError, match="line 2: there is no data/depth/img_5002.png"):
        open_nyud(tmp_path, "trainval", tops)


def test_the_published_lists_stand_in_for_missing_ones(tmp_path):
    write_nyud(tmp_path, ids=reference.split("nyud-test")[:2])
    assert open_nyud(tmp_path, "test", limit=2).ids == reference.split("nyud-test")[:2]


def test_the_list_that_nyud_is_trained_on_is_published_too(tmp_path):
    write_nyud(tmp_path, split="mine", ids=reference.split("nyud-train")[:2])
    assert open_nyud(tmp_path, "trainval", limit=2).ids == reference.split("nyud-train")[:2]


def test_siftflow_has_two_labelings(tmp_path):
    sem, geo = write_siftflow(tmp_path)
    for kind, classes in ("sem", 33), ("geo", 3):
        dataset = open_siftflow(tmp_path, "trainval", labels=kind)
        assert dataset.num_classes == classes
        for index, id in enumerate(dataset.ids):
            blobs = {name: blob[0].numpy() for name, blob in dataset.blobs(index).items()}
            assert blobs.keys() == {"data", "sem", "geo"}
            assert np.array_equal(blobs["sem"][0], np.where(sem[id] == 0, 255, sem[id] - 1.0))
            assert np.array_equal(blobs["geo"][0], np.where(geo[id] < 1, 255, geo[id] - 1.0))
            assert np.array_equal(blobs[kind][0], dataset[index].labels)
            assert blobs["data"] == pytest.approx(bgr(dataset[index].image, (114.578, 115.294, 108.353)), abs=1e-4)


def test_siftflow_checks_both_labelings(tmp_path):
    write_siftflow(tmp_path)
    savemat(tmp_path / "GeoLabels" / SCENES / "coast_a1.mat", {"S": np.full((40, 52), 4, np.int16)})
    with pytest.raises(CaffeFileError, match="GeoLabels.*coast_a1.mat: row 0, column 0: label 3"):
        open_siftflow(tmp_path, "trainval").blobs(0)


def test_pascalcontext_maps_459_names_to_59_classes(tmp_path):
    labels, names = write_pascalcontext(tmp_path / "voc", tmp_path / "context")
    dataset = open_pascalcontext(tmp_path / "voc", tmp_path / "context", "train")
    assert dataset.num_classes == 60
    renamed = {"table": "diningtable", "cloth": "clothes", "bedclothes": "bedcloth", "potted plant": "pottedplant"}
    classes = reference.classes("pascalcontext")
    for index, id in enumerate(dataset.ids):
        expected = np.zeros_like(labels[id])
        for number in range(2, 7):  # 1 is accordion, which is none of the 59
            name = names[number - 1]
            expected[labels[id] == number] = classes.index(renamed.get(name, name))
        assert np.array_equal(dataset[index].labels, expected) and len(np.unique(expected)) == 6
    assert np.array_equal(dataset.blobs(0)["label"][0, 0].numpy(), dataset[0].labels)
    image = random_images(dataset.ids)[dataset.ids[0]]
    assert dataset[0].image.shape == image.shape


def test_pascalcontext_needs_its_names(tmp_path):
    write_pascalcontext(tmp_path / "voc", tmp_path / "context")
    path = tmp_path / "context" / "labels.txt"
    names = path.read_text()
    for text, said in (
        (names.replace("sky", "heaven"), "does not name sky"),
        (f"sky\n{names}", "line 1: 'sky' is not of the form NUMBER: NAME"),
    ):
        path.write_text(text)
        with pytest.raises(CaffeFileError, match=said):
            open_pascalcontext(tmp_path / "voc", tmp_path / "context", "train")
    path.unlink()
    with pytest.raises(CaffeFileError, match="labels.txt: no such file"):
        open_pascalcontext(tmp_path / "voc", tmp_path / "context", "train")
