"""The release's directories: written as it has them, run unchanged."""

import random

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.release_data import write_nyud, write_pascalcontext, write_sbd, write_siftflow
from helpers.small import WIDTH

import reference
from converters import CaffeError, CaffeNet, read_caffemodel, read_prototxt, read_solver, write_caffemodel, write_prototxt
from reference.export import export
from repro.cli import main
from repro.training.caffe_solver import open_data, open_release
from surgery import bilinear_kernel

WRITERS = {
    "voc": lambda data: write_sbd(data / "sbdd" / "dataset"),
    "nyud": lambda data: write_nyud(data / "nyud"),
    "siftflow": lambda data: write_siftflow(data / "sift-flow"),
    "pascalcontext": lambda data: write_pascalcontext(data / "pascal" / "VOC2010", data / "pascal-context"),
}


@pytest.fixture
def release(tmp_path):
    """release(net) writes the net's directory and its data beside it, and returns the solver's path."""

    def write(name):
        WRITERS[name.split("-")[0]](tmp_path / "data")
        export(name, tmp_path / name, width=WIDTH)
        return tmp_path / name / "solver.prototxt"

    return write


def train(solver, *weights, more=()):
    output = solver.parent.parent / "out"
    arguments = ["train", solver, "-o", output, "--iterations", 3, *more]
    for path in weights:
        arguments += ["--weights", path]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result, output / f"{solver.parent.name}.caffemodel"


@pytest.mark.parametrize("name", ["voc-fcn8s-atonce", "nyud-fcn32s-hha", "nyud-fcn32s-color-d", "siftflow-fcn32s",
                                  "pascalcontext-fcn32s"])
def test_a_directory_trains_from_the_classifier(name, release, classifier):
    result, written = train(release(name), classifier, more=["--base-lr", 1e-6])
    assert result.exit_code == 0, result.output
    trained, start = read_caffemodel(written).blobs, read_caffemodel(classifier).blobs
    heads = ("_sem", "_geo") if name.startswith("siftflow") else ("",)
    for head in heads:
        assert trained[f"score_fr{head}"][0].any()  # which starts at zero
    last = "upscore8" if "8s" in name else f"upscore{heads[0]}"
    assert trained[last][0][2, 2] == pytest.approx(bilinear_kernel(trained[last][0].shape[2]))
    if name.endswith("color-d"):
        kernels = trained["conv1_1_bgrd"][0]
        assert kernels[:, 3] == pytest.approx(start["conv1_1"][0].mean(1), abs=1e-3)
    else:
        assert trained["conv1_1"][0] == pytest.approx(start["conv1_1"][0], abs=1e-3)


def test_two_streams_start_from_two_nets(release, classifier, tmp_path):
    sources = []
    for kind in ("color", "hha"):
        net = CaffeNet(reference.net(f"nyud-fcn32s-{kind}", "deploy", width=WIDTH))
        with torch.no_grad():
            for blobs in net.params.values():
                blobs[0].normal_(0, 0.05)
        sources.append(net.to_blobs())
        write_caffemodel(tmp_path / f"{kind}.caffemodel", net.param, sources[-1])
    solver = release("nyud-fcn32s-color-hha")
    result, written = train(solver, tmp_path / "color.caffemodel", tmp_path / "hha.caffemodel", more=["--base-lr", 1e-12])
    assert result.exit_code == 0, result.output
    trained = read_caffemodel(written).blobs
    for kind, source in zip(("color", "hha"), sources, strict=True):
        for layer in ("conv1_1", "fc6", "score_fr"):
            assert trained[f"{layer}{kind}"][0] == pytest.approx(source[layer][0], abs=1e-6)
    result, _ = train(solver, classifier, more=["-o", tmp_path / "again"])
    assert result.exit_code == 2 and "conv1_1color" in result.stderr


def test_images_come_as_the_releases_layer_draws_them(release):
    solver = release("nyud-fcn32s-color")
    param, net, feed = open_release(solver)
    draw, images = random.Random(1337), 3
    with feed:
        for _ in range(10):
            expected = feed.dataset.blobs(int(draw.random() * images))
            blobs = next(feed)
            assert blobs.keys() == {"data", "label"} == set(net.inputs)
            assert all(torch.equal(blobs[name], expected[name]) for name in blobs)
    assert param.base_lr == pytest.approx(1e-10, rel=1e-6) and param.max_iter == 300000


def test_what_is_not_for_training_comes_in_list_order(release):
    solver = release("voc-fcn32s")
    net, lists = solver.parent / "train.prototxt", solver.parent.parent / "data" / "sbdd" / "dataset"
    text, split, seed = net.read_text(), r"\'split\': \'train\'", r", \'seed\': 1337"
    (lists / "odd.txt").write_text((lists / "train.txt").read_text())
    for before, after, shuffled, expected in (
        (split, split, True, 1337),
        (seed, "", True, 1337),
        (seed, r", \'seed\': 5", True, 5),
        (seed, r", \'randomize\': False", False, 1337),
        (split, r"\'split\': \'odd\'", False, 1337),
    ):
        assert before in text
        net.write_text(text.replace(before, after))
        with open_release(solver)[2] as feed:
            assert (feed.shuffle, feed.seed) == (shuffled, expected)


def test_paths_are_seen_from_the_working_directory_first(release, tmp_path, monkeypatch):
    solver = release("voc-fcn32s")
    write_sbd(tmp_path / "elsewhere" / "data" / "sbdd" / "dataset", ids=("2010_000001",))
    (tmp_path / "elsewhere" / "net").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere" / "net")
    assert open_release(solver)[2].dataset.ids == ["2010_000001"]
    monkeypatch.chdir(tmp_path)
    assert open_release(solver)[2].dataset.ids == ["2008_000002", "2008_000003"]
    monkeypatch.chdir(solver.parent)
    assert open_release("solver.prototxt")[2].dataset.ids == ["2008_000002", "2008_000003"]


@pytest.mark.parametrize(("before", "after", "said"), [
    ("{\\'sbdd_dir", "__import__(\\'os\\').abort() or {\\'sbdd_dir", "not a literal dict"),
    ("\\'split\\': \\'train\\', ", "", "layer 'data': its param_str lacks 'split'"),
    ("SBDDSegDataLayer", "MyDataLayer", "no data layer voc_layers.MyDataLayer is known.*nyud_layers.NYUDSegDataLayer"),
    ("voc_layers", "my_layers", "no data layer my_layers.SBDDSegDataLayer"),
    ("data/sbdd", "data/sbd", "../data/sbd/dataset is neither in the working directory nor seen from"),
    ('type: "Python"', 'type: "HDF5Data"', "one Python data layer .* there is 'data' .HDF5Data"),
    ('  top: "label"\n', "", "two tops"),
])
def test_what_cannot_be_run_is_said(before, after, said, release):
    solver = release("voc-fcn32s")
    net = solver.parent / "train.prototxt"
    text = net.read_text()
    assert before in text
    net.write_text(text.replace(before, after, 1))
    with pytest.raises(CaffeError, match=said):
        open_release(solver)


def test_mistakes_end_in_one_line(release, classifier, tmp_path):
    solver = release("voc-fcn32s")
    for arguments, said in (
        (["--data", tmp_path], "--data is for a published net"),
        (["--mirror"], "--mirror is for a published net"),
        (["--no-interp"], "layers upscore have no weights"),
    ):
        result, written = train(solver, classifier, more=arguments)
        assert result.exit_code == 2 and said in result.stderr and len(result.stderr.splitlines()) == 1
        assert not written.exists()
    solver.write_text(solver.read_text().replace("train_net", "# train_net"))
    with pytest.raises(CaffeError, match="one training net.*this one has none"):
        open_release(solver)


def test_upsampling_may_be_left_as_it_is(release, classifier, tmp_path):
    net = CaffeNet(reference.net("voc-fcn32s", "deploy", width=WIDTH))
    blobs = read_caffemodel(classifier).blobs | {"upscore": [np.full((21, 21, 64, 64), 0.01, np.float32)]}
    blobs = {name: arrays for name, arrays in blobs.items() if name != "fc8"}
    write_caffemodel(tmp_path / "start.caffemodel", net.param, blobs)
    result, written = train(release("voc-fcn32s"), tmp_path / "start.caffemodel", more=["--no-interp"])
    assert result.exit_code == 0, result.output
    assert (read_caffemodel(written).blobs["upscore"][0] == np.float32(0.01)).all()


def test_a_nyud_layer_must_name_its_tops(tmp_path):
    write_nyud(tmp_path / "data" / "nyud")
    export("nyud-fcn32s-color-d", tmp_path / "net", width=WIDTH)
    layer = read_prototxt(tmp_path / "net" / "trainval.prototxt").layer[0]
    dataset, params = open_data(layer, tmp_path / "net")
    assert set(dataset.blobs(0)) == {"color", "depth", "label"} and params["seed"] == 1337
    del layer.top[2:]
    with pytest.raises(CaffeError, match="2 tops, but its param_str has 3"):
        open_data(layer, tmp_path / "net")


def test_a_solver_may_hold_its_net(release):
    solver = release("voc-fcn32s")
    param = read_solver(solver)
    param.net_param.CopyFrom(read_prototxt(solver.parent / "train.prototxt"))
    param.ClearField("train_net")
    write_prototxt(solver, param)
    with open_release(solver)[2] as feed:
        assert len(feed.dataset) == 2
