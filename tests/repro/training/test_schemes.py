"""The papers' ways of training: what each makes of a net and its solver, and that `repro train` runs them all."""

import csv
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.small import WIDTH, write_voc

import reference
from converters import CaffeError, CaffeNet, read_blob, read_caffemodel
from reference.schemes import SCHEMES
from repro.cli import main
from repro.data import Feed, open_voc
from repro.training import schemes


def applied(*names, net="voc-fcn32s", base_lr=None):
    param, solver = reference.net(net, "train", width=WIDTH), reference.solver(net)
    schemes.apply(names, net, param, solver, base_lr)
    return param, solver


def settings(param, solver):
    loss = next(layer for layer in param.layer if layer.type == "SoftmaxWithLoss")
    return solver.iter_size, round(solver.momentum, 3), loss.loss_param.normalize, float(f"{solver.base_lr:.3g}")


@pytest.mark.parametrize(("name", "net", "expected"), [
    ("heavy", "voc-fcn32s", (1, 0.99, False, 1e-10)),  # as released
    ("online", "voc-fcn32s", (1, 0.9, False, 1e-10)),
    ("accumulated", "voc-fcn32s", (20, 0.9, True, 1e-4)),
    ("accumulated", "voc-fcn16s", (20, 0.9, True, 1e-6)),  # a hundredth of the coarser net's
    ("accumulated", "voc-fcn-alexnet", (20, 0.9, True, 1e-4)),  # as released
])
def test_batches(name, net, expected):
    assert settings(*applied(name, net=net)) == expected


def test_a_rate_that_was_not_published_must_be_given():
    with pytest.raises(CaffeError, match="no published rate for voc-fcn-alexnet with a summed loss: give --base-lr"):
        applied("heavy", net="voc-fcn-alexnet")
    assert settings(*applied("heavy", net="voc-fcn-alexnet", base_lr=1e-9)) == (1, 0.99, False, 1e-9)


def test_schemes_combine_in_any_order():
    for names in (("sampled", "accumulated"), ("accumulated", "sampled")):
        assert settings(*applied(*names)) == (40, 0.9, True, 1e-4)  # 1/0.5 as many images


def test_a_fixed_trunk_is_the_papers_net():
    param, _ = applied("fixed-trunk")
    published = reference.net("voc-fcn32s-fixed", "train", width=WIDTH)
    param.name = published.name
    assert param == published
    net = CaffeNet(applied("fixed-trunk", net="voc-fcn8s")[0], "train")
    learned = {item.name.split("/")[0] for item in net.learnable() if item.lr_mult}
    assert learned == {"score_fr", "score_pool4", "score_pool3"}


@pytest.mark.parametrize(("net", "learned"), [
    ("voc-fcn8s", {"upscore2", "upscore_pool4"}), ("siftflow-fcn16s", {"upscore2_sem", "upscore2_geo"}),
])
def test_learned_interpolation_spares_the_last(net, learned):
    for name, expected in (("learned-interpolation", learned), ("fixed-interpolation", set())):
        built = CaffeNet(applied(name, net=net)[0], "train")
        assert {item.name.split("/")[0] for item in built.learnable() if item.lr_mult and "up" in item.name} == expected
    with pytest.raises(CaffeError, match="upsamples once"):
        applied("learned-interpolation")


def test_a_balanced_loss_weighs_classes_by_their_rarity(tmp_path):
    dataset = open_voc(write_voc(tmp_path / "set", {"train": 4}, 3), "train")
    param = reference.net("voc-fcn32s", "train", num_classes=3, width=WIDTH)
    schemes.balance(param, dataset, tmp_path)
    matrix = read_blob(tmp_path / "infogain-label.binaryproto")
    labels = np.concatenate([dataset.labels(k).ravel() for k in range(4)])
    counts = np.bincount(labels[labels != 255])
    np.testing.assert_allclose(matrix[0, 0], np.diag(counts.sum() / 3 / counts), rtol=1e-6)
    assert (np.diag(matrix[0, 0])[labels[labels != 255]]).mean() == pytest.approx(1, rel=1e-6)

    loss = CaffeNet(param, "train").layers["loss"]
    scores, label = torch.randn(1, 3, 20, 20), torch.randint(0, 3, (1, 1, 20, 20)).float()
    label[0, 0, :3] = 255
    weights = torch.from_numpy(np.diag(matrix[0, 0]).copy())
    expected = torch.nn.functional.cross_entropy(scores, label[:, 0].long(), weights, ignore_index=255, reduction="sum")
    assert loss(scores, label).item() == pytest.approx(expected.item(), rel=1e-5)  # summed, as before


def test_sampling_keeps_whole_cells_and_half_of_the_labels(tmp_path):
    data = write_voc(tmp_path / "set", {"train": 1}, 3)
    large = open_voc(data, "train")
    large.blobs = lambda index: {"data": torch.ones(1, 3, 300, 400), "label": torch.zeros(1, 1, 300, 400)}
    with Feed(large, sampling=0.5) as feed, Feed(large, sampling=0.5) as again:
        kept = [next(feed)["label"][0, 0] == 0 for _ in range(20)]
        assert all(torch.equal(mask, next(again)["label"][0, 0] == 0) for mask in kept)
        with pytest.raises(CaffeError, match="sampling is 1.0, but was 0.5"):
            Feed(large).load_state_dict(feed.state_dict())
    assert 0.4 < torch.stack(kept).float().mean() < 0.6 and not torch.equal(kept[0], kept[1])
    for mask in kept:
        cells = mask[29:].unfold(0, 32, 32)[:, 29:].unfold(1, 32, 32).flatten(2).float().mean(2)  # from the second cell on
        assert set(cells.unique().tolist()) <= {0.0, 1.0}


def test_what_excludes_each_other_is_refused():
    for names in (("heavy", "online"), ("staged", "at-once"), ("fixed-interpolation", "learned-interpolation")):
        with pytest.raises(CaffeError, match=f"{names[0]} and {names[1]} exclude each other"):
            schemes.stages(names, "voc-fcn8s")
    with pytest.raises(CaffeError, match="no scheme 'lazy'"):
        applied("lazy")
    with pytest.raises(CaffeError, match="not trained at once"):
        schemes.stages(["at-once"], "nyud-fcn32s-color")


@pytest.mark.parametrize("scheme", ["staged", "at-once", *SCHEMES])
def test_each_is_one_option_away(scheme, voc_set, classifier, tmp_path):
    net = {"staged": "voc-fcn16s", "learned-interpolation": "voc-fcn16s", "at-once": "voc-fcn8s"}.get(scheme, "voc-fcn32s")
    result = CliRunner().invoke(main, [str(part) for part in (
        "train", net, "--scheme", scheme, "--data", voc_set, "--weights", classifier, "-o", tmp_path, "--iterations", 2,
        "--iter-size", 1)])
    assert result.exit_code == 0, result.output
    written = tmp_path / f"{net}{'-atonce' * (scheme == 'at-once')}.caffemodel"
    trained, start = read_caffemodel(written).blobs, read_caffemodel(classifier).blobs
    moved = not np.array_equal(trained["conv5_3"][0], start["conv5_3"][0])
    assert trained["score_fr"][0].any()
    if scheme == "fixed-trunk":
        assert not moved
    if scheme == "staged":
        assert (tmp_path / "voc-fcn32s.caffemodel").exists()
        with (tmp_path / "voc-fcn16s" / "log.csv").open() as file:
            assert [row["rate"][:3] for row in csv.DictReader(file)] == ["9.9", "9.9"]  # 1e-12, as float32
    if scheme == "balanced":
        assert (tmp_path / "infogain-label.binaryproto").exists()


def test_a_reproduction_by_schemes_is_not_called_the_papers(voc_set, classifier, tmp_path):
    arguments = ["reproduce", "voc-fcn32s", "--run", tmp_path, "--data", voc_set, "--weights", classifier,
                 "--iterations", 2, "--scheme", "accumulated", "--scheme", "balanced"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    job = json.loads((tmp_path / "results.json").read_text())["job"]
    assert job["scale"] == "own" and job["schemes"] == ["accumulated", "balanced"]
    assert "2 iterations at rate 0.0001, 20 images an iteration" in result.output
    assert "the paper's" not in result.output  # the set is not the paper's
    refused = CliRunner().invoke(main, ["reproduce", "voc-fcn32s", "--run", str(tmp_path / "2"), "--scheme", "online"])
    assert refused.exit_code == 2 and "--scheme is for one's own data" in refused.stderr
