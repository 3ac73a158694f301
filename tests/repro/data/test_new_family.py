"""A family of data sets that is made up: a record, its classes and list, and its reader are all that it takes."""

import shutil
import sys
from types import ModuleType

import pytest
from helpers.small import write_voc

import reference
from reference import lists
from reference.families import FAMILIES, Family, Source, Training
from repro.data import open_voc
from repro.data.check import lists_of
from repro.data.published import is_published_set, open_data, trained_ids
from repro.reproduction.job import real_job

TOY = Family(name="toy", splits=("train", "test"), mean=(1.0, 2.0, 3.0), absent=("white",), lists="ImageSets/Segmentation",
             sources={"data": Source("toy", "ImageSets", "the toy set")},
             training=Training({"32s": 1e-9, "16s": 1e-11}, test_iter=2, max_iter=10, rounds=2, steps=5, snapshot=0))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The family's set, whose reader and lists are at hand for the time of a test."""
    for folder in ("classes", "splits"):
        shutil.copytree(lists.HERE / folder, tmp_path / "lists" / folder)
    monkeypatch.setattr(lists, "HERE", tmp_path / "lists")
    (tmp_path / "lists/classes/toy.txt").write_text("background\ngrey\nwhite\n")
    (tmp_path / "lists/splits/toy-test.txt").write_text("test_0\ntest_1\n")
    reader = ModuleType("repro.data.toy")
    reader.open_set = lambda root, split, **options: open_voc(root, split, mean=TOY.mean, **options)
    monkeypatch.setitem(sys.modules, "repro.data.toy", reader)
    monkeypatch.setitem(FAMILIES, "toy", TOY)
    return write_voc(tmp_path / "toy", {"train": 3, "test": 2}, ["background", "grey", "white"])


def test_its_nets_and_solvers_follow(toy):
    assert [name for name in reference.names() if name.startswith("toy")] == ["toy-fcn32s", "toy-fcn16s"]
    score = next(layer for layer in reference.net("toy-fcn16s").layer if layer.name == "score_fr")
    assert score.convolution_param.num_output == 3
    assert reference.schedule("toy-fcn16s") == (("toy-fcn32s",), 2, 5)
    assert reference.solver("toy-fcn16s").max_iter == 10


def test_its_set_is_opened_checked_and_reproduced(toy, classifier):
    dataset = open_data("toy-fcn32s", toy)
    assert dataset.ids == ["test_0", "test_1"] and dataset.mean == (1.0, 2.0, 3.0)
    assert is_published_set("toy-fcn32s", dataset)
    assert not is_published_set("toy-fcn32s", open_data("toy-fcn32s", toy, "train"))
    assert lists_of("toy-fcn32s", toy) == ["train", "test"]
    assert trained_ids("toy-fcn32s", dataset) == {"train_0", "train_1", "train_2"}
    job = real_job("toy-fcn16s", toy, weights=classifier)
    assert job.stages == ["toy-fcn32s", "toy-fcn16s"] and job.published_set and len(job.sets["toy-fcn16s"].train) == 3
