"""The picture of a net: which steps it shows, and that nothing stands in the way of anything else."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
from helpers.calls import assert_refused, call
from helpers.small import WIDTH

import reference
from converters import CaffeError, read_prototxt, write_caffemodel, write_prototxt
from surgery.picture import boxes, dot, svg

SVG = "{http://www.w3.org/2000/svg}"


def read(*layers, name="small"):
    return read_prototxt(f"name: '{name}'\n" + "\n".join(f"layer {{ {layer} }}" for layer in layers))


def conv(name, bottom, more=""):
    return (f"name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' "
            f"convolution_param {{ num_output: 4 kernel_size: 3 {more} }}")


def steps(net):
    """{box: (its stride, or None where it has none, [the boxes before it])}"""
    return {box.name: (box.stride and int(max(box.stride)), [before.name for before in box.before]) for box in boxes(net)}


def rectangles(text):
    return [tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
            for rect in ElementTree.fromstring(text).iter(f"{SVG}rect") if rect.get("x")]


def crosses(path, rect):
    """Whether a straight stretch of an arrow lies in a box."""
    x, y, width, height = rect
    points = [(float(a), float(b)) for a, b in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]
    return any(y0 == y1 and y < y0 < y + height and min(x0, x1) < x + width - 1 and max(x0, x1) > x + 1
               for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False))


def check_layout(net):
    """No box lies over another, and no arrow runs through one."""
    text = svg(net)
    rects = rectangles(text)
    assert len(rects) == len(boxes(net))
    for (x, y, width, height), (x2, y2, *_) in combinations(rects, 2):
        assert not (abs(x - x2) < width and abs(y - y2) < height)
    paths = [path.get("d") for path in ElementTree.fromstring(text).iter(f"{SVG}path") if path.get("marker-end")]
    assert len(paths) == sum(len(box.before) for box in boxes(net))
    assert [(path, rect) for path in paths for rect in rects if crosses(path, rect)] == []


def test_the_steps_of_fcn8s():
    assert steps(reference.net("voc-fcn8s", "deploy")) == {
        "data": (1, []), "pool1": (2, ["data"]), "pool2": (4, ["pool1"]), "pool3": (8, ["pool2"]),
        "pool4": (16, ["pool3"]), "pool5": (32, ["pool4"]), "score_fr": (32, ["pool5"]), "upscore2": (16, ["score_fr"]),
        "score_pool4": (16, ["pool4"]), "fuse_pool4": (16, ["upscore2", "score_pool4"]),
        "upscore_pool4": (8, ["fuse_pool4"]), "score_pool3": (8, ["pool3"]),
        "fuse_pool3": (8, ["upscore_pool4", "score_pool3"]), "upscore8": (1, ["fuse_pool3"]), "score": (1, ["upscore8"]),
    }


@pytest.mark.parametrize("name", reference.names())
def test_every_published_net(name):
    net = reference.net(name, "deploy", width=1 / 16)
    check_layout(net)
    assert dot(net).startswith("digraph ") and dot(net).count(" -> ") == sum(len(box.before) for box in boxes(net))


def test_what_keeps_the_resolution_is_counted_and_what_changes_it_is_a_box():
    net = read(conv("a", "data"), conv("b", "a"), conv("c", "b", "stride: 2"),
               "name: 'sum' type: 'Eltwise' bottom: 'c' bottom: 'd' top: 'sum'")
    net.layer.insert(3, read(conv("d", "c")).layer[0])
    # The sum's bottoms come from one box, as a residual block's: it is drawn since it is the output.
    assert steps(net) == {"data": (1, []), "c": (2, ["data"]), "sum": (2, ["c"])}
    assert {box.name: box.note for box in boxes(net)} == {"data": "", "c": "a, b, 4 channels", "sum": "sum"}


def test_a_layer_without_a_map_ends_the_strides_and_breaks_nothing():
    net = read(conv("a", "data", "stride: 2"),
               "name: 'odd' type: 'OfSomeFork' bottom: 'a' top: 'odd'",
               "name: 'p' type: 'Pooling' bottom: 'odd' top: 'p' top: 'mask' pooling_param { kernel_size: 2 stride: 2 }",
               "name: 'fc' type: 'InnerProduct' bottom: 'p' top: 'fc' inner_product_param { num_output: 7 }",
               "name: 'up' type: 'Upsample' bottom: 'fc' bottom: 'mask' top: 'up'")
    assert steps(net) == {"data": (1, []), "a": (2, ["data"]), "p": (None, ["a"]), "up": (None, ["p"])}
    check_layout(net)


def test_a_net_that_is_trained_is_drawn_in_its_test_phase():
    net = read("name: 'd' type: 'Data' top: 'data' top: 'label'", conv("a", "data"),
               "name: 'only' type: 'Pooling' bottom: 'a' top: 'only' include { phase: TRAIN }",
               "name: 'acc' type: 'Accuracy' bottom: 'a' bottom: 'label' top: 'acc'",
               "name: 'loss' type: 'SoftmaxWithLoss' bottom: 'a' bottom: 'label' top: 'loss'")
    assert steps(net) == {"data": (1, []), "a": (1, ["data"])}


def test_an_arrow_goes_round_what_stands_between():
    """data reaches the last sum over two boxes of its own row."""
    joins = [f"name: '{name}' type: 'Eltwise' bottom: '{one}' bottom: '{other}' top: '{name}'"
             for name, one, other in (("s1", "data", "x"), ("s2", "s1", "y"), ("s3", "s2", "data"))]
    check_layout(read(*joins))


def test_names_are_written_as_xml():
    net = read("name: 'a&<b>\"' type: 'Softmax' bottom: 'data' top: 'p'", name='x & <y> "z"')
    titles = [title.text for title in ElementTree.fromstring(svg(net)).iter(f"{SVG}title")]
    assert titles[0] == 'x & <y> "z"' and any(title.startswith('a&<b>"') for title in titles)
    assert 'digraph "x & <y> \\"z\\""' in dot(net)


def test_too_many_boxes_are_refused():
    net = read(*(f"name: 's{i}' type: 'Eltwise' bottom: 's{i - 1}' bottom: 'x{i}' top: 's{i}'" for i in range(200)))
    with pytest.raises(CaffeError, match="'small' would have 401 boxes.*write it as .dot"):
        svg(net)
    assert dot(net).count(" -> ") == 400
    with pytest.raises(CaffeError, match="no layers to draw"):
        svg(read())


def test_the_commands(golden, tmp_path):
    small = golden / "formats" / "tiny_v1.caffemodel"
    net = reference.net("voc-fcn32s", "deploy", width=WIDTH)
    write_prototxt(tmp_path / "net.prototxt", net)
    for suffix in (".svg", ".dot"):
        made = tmp_path / f"net{suffix}"
        result = call("inspect", tmp_path / "net.prototxt", "--picture", made)
        assert result.exit_code == 0 and f"wrote {made}" in result.output, result.output
        assert "upscore" in made.read_text()
        drawn = made.read_bytes()
        assert call("reference", "picture", "voc-fcn32s", "-o", made).exit_code == 0
        assert made.read_bytes() == drawn
    assert call("inspect", small, "--picture", tmp_path / "weights.svg").exit_code == 0
    assert "conv1" in (tmp_path / "weights.svg").read_text()
    assert_refused(call("inspect", small, "--picture", tmp_path / "net.png"), "as .svg or .dot, not '.png'")
    mean = golden / "formats" / "mean.binaryproto"
    assert_refused(call("inspect", mean, "--picture", tmp_path / "mean.svg"), mean, "a picture needs a net")
    alone = tmp_path / "weights.caffemodel.h5"
    write_caffemodel(alone, net, {})
    assert_refused(call("inspect", alone, "--picture", tmp_path / "alone.svg"), alone, "says nothing of its layers")
    solver = tmp_path / "solver.prototxt"
    solver.write_text("base_lr: 1\n")
    assert_refused(call("inspect", solver, "--picture", tmp_path / "solver.svg"), solver)
