"""`repro bounds`: resampling done by hand on small labels, and the real label images."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from reference import lists
from repro.cli import main
from repro.data.folder import LabelFolder
from repro.data.images import save_labels
from repro.scoring.metrics import Confusion
from repro.scoring.upper_bounds import FACTORS, METHODS, coarse_size, majority, nearest, upper_bounds


def test_nearest_takes_what_lies_in_the_middle():
    labels = np.array([[1, 2, 3, 3], [1, 255, 3, 5]], np.uint8)
    # The middle of an even cell is its lower right pixel.
    assert nearest(labels, 2).tolist() == [[0, 0, 5, 5], [0, 0, 5, 5]]


def test_majority_takes_the_commonest_label_and_void_has_no_vote():
    labels = np.array([[1, 255, 3, 3], [255, 255, 3, 5]], np.uint8)
    # Bilinear upsampling by 2 of two cells leaves each pixel nearer to its own.
    assert majority(labels, 2).tolist() == [[1, 1, 3, 3], [1, 1, 3, 3]]
    assert majority(np.full((3, 3), 255, np.uint8), 2).tolist() == [[0] * 3] * 3


def test_majority_upsamples_bilinearly():
    labels = np.zeros((1, 12), np.uint8)
    labels[0, 4:8] = 9
    weight = np.interp(np.arange(12), [1.5, 5.5, 9.5], [0, 1, 0])
    assert np.array_equal(majority(labels, 4)[0], np.where(weight > 0.5, 9, 0))


def test_a_grid_is_the_rounded_share_of_the_image_and_has_a_cell():
    assert coarse_size(np.zeros((366, 500)), 32) == (11, 16)  # 11.4 and 15.6
    assert coarse_size(np.zeros((366, 500)), 128) == (3, 4)  # 2.9 and 3.9
    assert coarse_size(np.zeros((5, 500)), 128) == (1, 4)


def test_void_is_no_class_of_a_bound(tmp_path):
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 255
    save_labels(tmp_path / "a.png", labels)
    for method in METHODS:
        assert upper_bounds(LabelFolder(tmp_path), method, factors=(4, 1)) == {4: 1, 1: 1}


@pytest.mark.parametrize("method", METHODS)
def test_a_factor_of_one_changes_nothing_and_huge_ones_leave_one_label(method):
    labels = np.random.RandomState(0).choice([0, 4, 20, 255], (11, 17)).astype(np.uint8)
    same = METHODS[method](labels, 1)
    assert np.array_equal(same[labels != 255], labels[labels != 255])
    assert len(np.unique(METHODS[method](labels, 1000))) == 1


@pytest.mark.parametrize("method", METHODS)
def test_bounds_are_of_one_matrix_over_the_set_and_rise_with_the_grid(tmp_path, shared, method):
    dataset = LabelFolder(shared("voc-masks"), limit=25)
    bounds = upper_bounds(dataset, method)
    assert list(bounds) == list(FACTORS) and list(bounds.values()) == sorted(bounds.values())
    assert 0.2 < bounds[128] < 0.8 and 0.95 < bounds[4] <= 1
    by_hand = Confusion(21)
    for index in range(25):
        by_hand.add(dataset.labels(index), METHODS[method](dataset.labels(index), 32))
    assert bounds[32] == by_hand.scores().mean_iu


def test_the_command_prints_both_beside_the_papers(tmp_path, monkeypatch):
    """The paper's stand beside its own images alone."""
    labels = np.zeros((200, 300), np.uint8)
    labels[:128, 128:256] = 7
    save_labels(tmp_path / "a.png", labels)
    own = CliRunner().invoke(main, ["bounds", str(tmp_path)])
    assert own.exit_code == 0 and "paper" not in own.stdout
    assert own.stdout.splitlines()[2].split()[0] == "128" and len(own.stdout.splitlines()[2].split()) == 3
    published = json.loads(CliRunner().invoke(main, ["bounds", str(tmp_path), "--json"]).stdout)["published"]
    assert published is None

    monkeypatch.setattr(lists, "split", lambda name: ["a"])
    done = CliRunner().invoke(main, ["bounds", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[0].isdecimal()]
    assert [row[:2] for row in rows] == [["128", "50.9"], ["64", "73.3"], ["32", "86.1"], ["16", "92.8"], ["8", "96.4"],
                                         ["4", "98.5"]]
    assert all(row[3] == f"({float(row[2]) - float(row[1]):+.1f})" for row in rows)
    (tmp_path / "a.png").unlink()
    assert CliRunner().invoke(main, ["bounds", str(tmp_path)]).exit_code == 2
