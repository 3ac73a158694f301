"""The text format: read as protobuf reads it, with what is unknown named, and written so that it reads back."""

import math
import warnings

import numpy as np
import pytest
from google.protobuf import text_format

from converters.caffe_pb2 import NetParameter, SolverParameter
from converters.errors import CaffeFileError
from converters.formats.prototxt import UnknownFieldWarning, format_prototxt, read_prototxt, read_solver, write_prototxt

LAYER = 'layer { name: "x" type: "Power" power_param { %s } }'


def power(body):
    return read_prototxt(LAYER % body).layer[0].power_param


def test_agrees_with_protobuf_on_every_golden_net(golden):
    nets = 0
    for path in sorted(golden.glob("*/*.npz")):
        with np.load(path) as arrays:
            for key in {"prototxt", "net"} & set(arrays):
                text = str(arrays[key])
                expected = text_format.Parse(text, NetParameter())
                if not expected.input:
                    assert read_prototxt(text) == expected, path
                    nets += 1
    assert nets > 20


def test_values_as_text_format_has_them():
    text = """
        # a comment, "quoted" { and braced
        name: "a" 'b'   "\\x63\\n\\303\\251"  # strings side by side are one
        layer < name: "x", type: "Convolution"; top: ["p", "q"]
          convolution_param: { kernel_size: [ 3, 5 ] num_output: 0x10 pad: 010 bias_term: false }
          loss_weight: -1.5e-3 loss_weight: - 2 loss_weight: .5f loss_weight: inf
          convolution_param2 { deep { er: 1 } list: [ {a: 1}, {b: 2} ] } >
    """
    unknown = []
    net = read_prototxt(text, unknown)
    assert net.name == "abc\né"
    (layer,) = net.layer
    assert list(layer.top) == ["p", "q"]
    param = layer.convolution_param
    assert (list(param.kernel_size), param.num_output, list(param.pad), param.bias_term) == ([3, 5], 16, [8], False)
    assert list(layer.loss_weight) == pytest.approx([-1.5e-3, -2, 0.5, math.inf])
    assert unknown == ["layer 'x': convolution_param2 (line 7)"]


def test_unknown_fields_and_values_are_named():
    text = """layer {
      priorbox_param { min_size: 3 }
      type: "Pooling"
      name: "p"
      pooling_param { pool: SOFT  engine: MKL2017
        ceil_mode: false kernel_size: 2 }
    }
    quantum: 3
    """
    expected = [
        "layer 'p': priorbox_param (line 2)",
        "layer 'p': pooling_param.pool: SOFT (line 5)",
        "layer 'p': pooling_param.engine: MKL2017 (line 5)",
        "layer 'p': pooling_param.ceil_mode (line 6)",
        "quantum (line 8)",
    ]
    unknown = []
    net = read_prototxt(text, unknown)
    assert unknown == expected
    assert net.layer[0].pooling_param.kernel_size == 2
    with pytest.warns(UnknownFieldWarning) as caught:
        read_prototxt(text)
    assert len(caught) == 1
    assert all(line in str(caught[0].message) for line in expected)


def test_known_nets_warn_of_nothing(golden):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("tiny_v0", "tiny_v1", "tiny_v2", "tiny_train"):
            read_prototxt(golden / "formats" / f"{name}.prototxt")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('layer {\n name: "a"', 2, "end of the text"),
        ("layer {\n name: 'a\n}", 2, "not closed"),
        ("layer {\n name: a }", 2, "name needs .* quotes"),
        ("\nlayer { name: 'a' name: 'b' }", 2, "name is given twice"),
        ("layer {\n power_param { shift: 'x' } }", 2, "power_param.shift needs a number"),
        ("layer {\n power_param: 3 }", 2, "power_param needs { ... }"),
        ("layer {\n name { } }", 2, "name needs"),
        ("layer {\n top: [ 'a' 'b', ; ] }", 2, "';' stands where"),
        ("layer {\n name 'a' }", 2, "':' or '{'"),
        ("layers {\n type: 'Convolution' }", 2, "type needs a word"),
        ("layer {\n convolution_param { num_output: -1 } }", 2, "an integer in range"),
        ("layer {\n convolution_param { num_output: 1e9 } }", 2, "an integer in range"),
        ("layer {\n convolution_param { bias_term: 2 } }", 2, "true or false"),
        ("layer {\n power_param { shift: 1_0 } }", 2, "a number"),
        ("layer {\n name: '\\777' }", 2, "escape"),
        ("layer {\n name: '\\q' }", 2, "escape"),
        ("layer {\n name: '\\377' }", 2, "UTF-8"),
        ("layer {\n} }", 2, "'}' stands where"),
        ("layer {\n [ext.field]: 1 }", 2, "a field's name"),
        ("layer {\n name: 'a' @ }", 2, "not understood"),
    ],
)
def test_mistakes_are_told_with_their_line(text, line, reason):
    with pytest.raises(CaffeFileError, match=reason) as caught:
        read_prototxt(text)
    assert f"line {line}:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_every_form():
    assert power("shift: 1e10 scale: -7 power: 2.").scale == -7
    assert power("shift: 5E+2").shift == 500
    assert math.isnan(power("shift: nan").shift)
    assert power("shift: -inf").shift == -math.inf


def test_deep_nesting_is_refused():
    for depth in (100, 100_000):
        with pytest.raises(CaffeFileError, match="nested deeper"):
            read_prototxt("a {" * depth + "}" * depth)


def test_param_str_stays_text():
    text = 'layer { name: "d" type: "Python" python_param { module: "m" layer: "L" param_str: "{\'x\': exit()}" } }'
    assert read_prototxt(text).layer[0].python_param.param_str == "{'x': exit()}"


def test_text_and_paths_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name.prototxt").write_bytes(b"\xef\xbb\xbfname: 'filed' # \xc4\xe3\xba\xc3, in GBK\n")
    assert read_prototxt("odd:name.prototxt").name == "filed"
    assert read_prototxt(tmp_path / "odd:name.prototxt").name == "filed"
    assert read_prototxt("name: 'said'").name == "said"
    with pytest.raises(CaffeFileError, match="no such file"):
        read_prototxt("name.prototxt")


def test_a_solver_is_not_a_net_nor_a_net_a_solver(golden):
    with pytest.raises(CaffeFileError, match="a net is expected"):
        read_prototxt("base_lr: 1e-3\nmomentum: 0.9\n")
    with pytest.raises(CaffeFileError, match="a solver is expected"):
        read_solver(golden / "formats" / "tiny_v2.prototxt")


def test_written_text_reads_back(golden, tmp_path):
    for name in ("tiny_v0", "tiny_v1", "tiny_v2", "tiny_train"):
        net = read_prototxt(golden / "formats" / f"{name}.prototxt")
        write_prototxt(tmp_path / "copy.prototxt", net)
        assert read_prototxt(tmp_path / "copy.prototxt") == net
    assert format_prototxt(net).startswith('name: "tiny"\nlayer {\n  name: "data"\n  type: "Input"\n')


def test_blobs_are_left_out_of_the_text():
    net = NetParameter()
    net.layer.add(name="x").blobs.add(data=[1, 2])
    assert format_prototxt(net) == 'layer {\n  name: "x"\n}\n'
    assert len(net.layer[0].blobs) == 1


def test_solvers(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "train.prototxt"\nbase_lr: 1e-10\nstepvalue: [1, 2]\nsolver_mode: GPU\nmin_lr: 3\n')
    unknown = []
    solver = read_solver(path, unknown)
    assert unknown == ["min_lr (line 5)"]
    assert solver == SolverParameter(
        net="train.prototxt", base_lr=1e-10, stepvalue=[1, 2], solver_mode="GPU", snapshot_prefix=str(tmp_path / "solver")
    )
    assert not read_solver(path.read_text(), []).HasField("snapshot_prefix")
    path.write_text(f"snapshot_prefix: '{tmp_path}'")
    assert read_solver(path).snapshot_prefix == str(tmp_path / "solver")
