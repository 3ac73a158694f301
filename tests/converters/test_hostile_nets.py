"""Descriptions that say impossible things: a `CaffeError` of one line, whatever numbers and names stand in them."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters import CaffeError, CaffeNet
from converters.formats.prototxt import read_prototxt
from converters.inspect import inspect
from converters.pytorch.module_source import write_module

ZOO = """
layer { name: "d" type: "Input" top: "d" top: "l" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } shape { dim: 2 } } }
layer { name: "bn" type: "BatchNorm" bottom: "d" top: "bn" }
layer { name: "sc" type: "Scale" bottom: "bn" top: "sc" scale_param { axis: 1 num_axes: 1 bias_term: true } }
layer { name: "sl" type: "Slice" bottom: "sc" top: "s1" top: "s2" slice_param { axis: 1 slice_point: 2 } }
layer { name: "cc" type: "Concat" bottom: "s1" bottom: "s2" top: "cc" concat_param { axis: 1 } }
layer { name: "rs" type: "Reshape" bottom: "cc" top: "rs"
        reshape_param { shape { dim: 0 dim: -1 dim: 3 } axis: 0 num_axes: -1 } }
layer { name: "fl" type: "Flatten" bottom: "rs" top: "fl" flatten_param { axis: 1 end_axis: -1 } }
layer { name: "ip" type: "InnerProduct" bottom: "fl" top: "ip" inner_product_param { num_output: 3 axis: 1 } }
layer { name: "tl" type: "Tile" bottom: "ip" top: "tl" tile_param { axis: 1 tiles: 2 } }
layer { name: "rd" type: "Reduction" bottom: "tl" top: "rd" reduction_param { axis: 1 } }
layer { name: "dc" type: "Deconvolution" bottom: "cc" top: "dc"
        convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 dilation: 1 } }
layer { name: "cr" type: "Crop" bottom: "dc" bottom: "d" top: "cr" crop_param { axis: 2 offset: 1 } }
layer { name: "lrn" type: "LRN" bottom: "cr" top: "lrn" lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL } }
layer { name: "po" type: "Pooling" bottom: "lrn" top: "po" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "spp" type: "SPP" bottom: "lrn" top: "spp" spp_param { pyramid_height: 2 } }
layer { name: "am" type: "ArgMax" bottom: "spp" top: "am" argmax_param { top_k: 1 axis: 1 } }
layer { name: "im" type: "Im2col" bottom: "lrn" top: "im" convolution_param { kernel_size: 3 pad: 1 stride: 1 } }
layer { name: "em" type: "Embed" bottom: "l" top: "em" embed_param { num_output: 3 input_dim: 5 } }
layer { name: "dd" type: "DummyData" top: "dd" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "el" type: "Eltwise" bottom: "lrn" bottom: "cr" top: "el" eltwise_param { coeff: 1 coeff: -1 } }
"""
NUMBERS = ("0", "-1", "1", "3", "-2", "100", "2147483647", "4294967295", "0.5", "-1e9")
NUMBER, NAME = re.compile(r"(?<=: )-?[\d.]+"), re.compile(r'(?<=: )"\w+"')

change = st.tuples(st.sampled_from(["number", "name", "drop", "repeat"]), st.floats(0, 1, exclude_max=True),
                   st.floats(0, 1, exclude_max=True))


def changed(text, kind, place, by):
    """The text with one number or name in another's place, or a line less or twice."""
    if kind in ("drop", "repeat"):
        lines = text.split("\n")
        at = int(place * len(lines))
        return "\n".join(lines[:at] + lines[at : at + 1] * (2 if kind == "repeat" else 0) + lines[at + 1 :])
    found = list((NUMBER if kind == "number" else NAME).finditer(text))
    match = found[int(place * len(found))]
    others = NUMBERS if kind == "number" else [other[0] for other in found]
    return text[: match.start()] + others[int(by * len(others))] + text[match.end() :]


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(change, max_size=3), size=st.sampled_from([None, (9, 7), (1, 1)]))
def test_a_description_is_sound_or_refused(tmp_path, changes, size):
    text = ZOO
    for kind, place, by in changes:
        text = changed(text, kind, place, by)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    for attempt in (lambda: inspect(path, size), lambda: write_module(tmp_path / "net.py", read_prototxt(path, []), size)):
        try:
            attempt()
        except CaffeError as error:
            assert "\n" not in str(error)


def test_the_sound_one_is_sound(tmp_path):
    (tmp_path / "net.prototxt").write_text(ZOO)
    found = inspect(tmp_path / "net.prototxt")
    assert not found["remarks"] and all(layer["shapes"][0] for layer in found["layers"])


@pytest.mark.parametrize(("before", "after", "said"), [
    ("dim: 6 dim: 6", "dim: 6 dim: -6", "input 'd' has shape 2x4x6x-6"),
    ("kernel_size: 4", "kernel_size: 4294967295", "layer 'dc' .Deconvolution.: "),
    ("shape { dim: 2 dim: 3 }", "shape { dim: 2 dim: -3 }", "layer 'dd' .DummyData.: "),
    ('type: "Im2col" bottom: "lrn"', 'type: "Convolution"', "layer 'im' .Convolution.: "),
])
def test_the_layer_is_named(before, after, said):
    assert before in ZOO
    with pytest.raises(CaffeError, match=said):
        CaffeNet(ZOO.replace(before, after))
