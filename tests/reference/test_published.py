"""Solvers, tables, lists and addresses: against each other, and against values written down here again."""

from collections import Counter

import pytest

import reference
from converters import CaffeError
from reference import paper
from reference.weights import DOWNLOADS

TRAINED = [name for name in reference.names() if "-fcn" in name]


@pytest.mark.parametrize(("name", "base_lr", "momentum", "iter_size", "max_iter", "starts_from"), [
    ("voc-fcn32s", 1e-10, 0.99, 1, 100000, "vgg16"),
    ("voc-fcn16s", 1e-12, 0.99, 1, 100000, "voc-fcn32s"),
    ("voc-fcn8s", 1e-14, 0.99, 1, 100000, "voc-fcn16s"),
    ("voc-fcn8s-atonce", 1e-10, 0.99, 1, 300000, "vgg16"),
    ("voc-fcn-alexnet", 1e-4, 0.9, 20, 100000, "caffenet"),
    ("siftflow-fcn8s", 1e-12, 0.99, 1, 300000, "siftflow-fcn16s"),
    ("pascalcontext-fcn8s", 1e-14, 0.99, 1, 300000, "pascalcontext-fcn16s"),
    ("nyud-fcn32s-color-d", 1e-10, 0.99, 1, 300000, "vgg16"),
])
def test_solvers(name, base_lr, momentum, iter_size, max_iter, starts_from):
    solver = reference.solver(name)
    assert solver.base_lr == pytest.approx(base_lr, rel=1e-6) and solver.momentum == pytest.approx(momentum)
    assert (solver.iter_size, solver.max_iter) == (iter_size, max_iter)
    assert (solver.lr_policy, solver.average_loss, solver.display) == ("fixed", 20, 20)
    assert solver.weight_decay == pytest.approx(0.0005)
    assert reference.schedule(name).starts_from == (starts_from,)


def test_the_two_streams_start_from_two_nets():
    assert reference.schedule("nyud-fcn32s-color-hha").starts_from == ("nyud-fcn32s-color", "nyud-fcn32s-hha")
    assert reference.solver("nyud-fcn32s-color-hha").base_lr == pytest.approx(1e-12)


@pytest.mark.parametrize("name", TRAINED)
def test_every_net_has_a_solver_and_a_start(name):
    assert reference.solver(name).base_lr > 0
    assert set(reference.schedule(name).starts_from) <= set(reference.names())


@pytest.mark.parametrize(("name", "iterations"), [
    ("voc-fcn8s", 100000), ("voc-fcn8s-atonce", 300000), ("nyud-fcn32s-hha", 100000), ("siftflow-fcn32s", 100000),
    ("pascalcontext-fcn32s", 400000),
])
def test_loops_are_the_releases(name, iterations):
    _, rounds, steps = reference.schedule(name)
    assert rounds * steps == iterations


def test_there_is_no_solver_for_a_classifier():
    with pytest.raises(CaffeError, match="no solver for 'vgg16'"):
        reference.solver("vgg16")


def test_published_scores():
    assert paper.scores("voc-fcn8s") == {"pixel_acc": 91.2, "mean_acc": 77.6, "mean_iu": 65.5, "fw_iu": 84.5}
    assert paper.scores("voc-fcn-alexnet") == {"mean_iu": 48.0}
    assert paper.scores("siftflow-fcn16s")["mean_iu"] == 39.5
    assert paper.scores("vgg16") == {}
    rescored = paper.rows("voc-fcn32s", source=paper.RESCORED)
    assert [row.mean_iu for row in rescored] == [63.6261]


def test_rescored_and_published_tables_agree():
    for row in paper.rows(source=paper.RESCORED):
        published = paper.scores(row.net)
        assert published == {metric: pytest.approx(score, abs=0.05001) for metric, score in row.scores.items()}


def test_rows_name_nets_and_percentages():
    for row in paper.ROWS:
        assert row.net in reference.names() or " " in row.net
        assert row.scores and all(0 < score < 100 for score in row.scores.values())
        if row.mean_iu and row.pixel_acc:
            assert row.mean_iu < row.mean_acc < row.pixel_acc and row.mean_iu < row.fw_iu < row.pixel_acc
    assert not any(row.confirmed for row in paper.rows(table="PASCAL-Context"))
    bounds = [paper.UPPER_BOUNDS[factor] for factor in sorted(paper.UPPER_BOUNDS)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize(("name", "count", "first", "last"), [
    ("voc", 21, "background", "tvmonitor"),
    ("nyud", 40, "wall", "otherprop"),
    ("siftflow-sem", 33, "awning", "window"),
    ("siftflow-geo", 3, "sky", "vertical"),
    ("pascalcontext", 60, "background", "wood"),
])
def test_classes(name, count, first, last):
    classes = reference.classes(name)
    assert len(set(classes)) == len(classes) == count
    assert (classes[0], classes[-1]) == (first, last)


@pytest.mark.parametrize(("name", "count", "first"), [
    ("seg11valid", 736, "2007_000033"),
    ("nyud-train", 381, "5449"),
    ("nyud-val", 414, "5010"),
    ("nyud-trainval", 795, "5449"),
    ("nyud-test", 654, "5001"),
    ("siftflow-trainval", 2486, "forest_for121"),
    ("siftflow-test", 200, "coast_natu975"),
])
def test_splits(name, count, first):
    ids = reference.split(name)
    assert len(set(ids)) == len(ids) == count
    assert ids[0] == first


def test_siftflow_is_not_scored_on_what_it_is_trained_on():
    trained, tested = (set(reference.split(f"siftflow-{name}")) for name in ("trainval", "test"))
    assert not trained & tested
    # Of each kind as many as the set of eight scenes has (Oliva and Torralba, 2001), but for a highway and a street.
    kinds = Counter(id.partition("_")[0] for id in trained | tested)
    assert kinds == {"coast": 360, "forest": 328, "highway": 259, "insidecity": 308, "mountain": 374, "opencountry": 410,
                     "street": 291, "tallbuilding": 356}


def test_nyud_splits_cover_the_set_once():
    assert reference.split("nyud-trainval") == reference.split("nyud-train") + reference.split("nyud-val")
    assert sorted(reference.split("nyud-trainval") + reference.split("nyud-test")) == [str(i) for i in range(5001, 6450)]


def test_unknown_lists_are_said():
    with pytest.raises(CaffeError, match="no classes 'coco'; there are nyud"):
        reference.classes("coco")
    with pytest.raises(CaffeError, match="no splits 'seg12valid'.*seg11valid"):
        reference.split("seg12valid")


def test_downloads():
    assert reference.download("vgg16").bytes == 553432081
    assert reference.download("voc-fcn8s").file == "fcn8s-heavy-pascal.caffemodel"
    assert len({entry.url for entry in DOWNLOADS.values()}) == len(DOWNLOADS)
    assert all(entry.md5 is None or len(entry.md5) == 32 for entry in DOWNLOADS.values())
    with pytest.raises(CaffeError, match="voc-fcn-googlenet"):  # which the paper has and the release has not
        reference.download("voc-fcn-googlenet")
