"""The fuzzer of nets: a short run of it, and that it finds a fault and makes the net small."""

import pytest
from fuzz.drawn_layers import NOT_DRAWN, SETTINGS
from fuzz.fuzz_nets import draw, fault, fuzz, installed, smallest

import converters
from converters.layers import REGISTRY, SAME


def test_every_layer_is_drawn_or_left_out_for_a_reason():
    left_out = [type for types in NOT_DRAWN.values() for type in types]
    assert sorted([*SETTINGS, *left_out]) == sorted(REGISTRY)


def test_a_seed_draws_one_net():
    assert draw(3) == draw(3) != draw(4)


def test_a_short_run_finds_nothing():
    said = []
    ways = [way for way in ("source", "fast", "opencv") if installed(way)]
    assert fuzz(0, 600, 8, ways, said.append) is None, said
    assert "fast: 8 nets agree" in said[-1] and "source: 0" not in said[-1]


NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "double" type: "Double" bottom: "conv" top: "double" }
layer { name: "relu" type: "ReLU" bottom: "double" top: "double" }
layer { name: "sum" type: "Eltwise" bottom: "double" bottom: "conv" top: "sum" }
"""


@pytest.mark.parametrize("source, says", [("3 * {}", "differs by"), ("2 * {} + missing", "NameError")])
def test_a_wrong_layer_is_found_and_the_rest_dropped(source, says):
    class Double(converters.Layer):
        pixels = SAME

        def forward(self, bottom):
            return 2 * bottom

        def source(self, step):
            return source.format(step.bottom)

    converters.register("Double")(Double)
    try:
        net = converters.read_prototxt(NET)
        assert says in fault(net, "source") and fault(net, "fast") is None
        assert [layer.name for layer in smallest(net, "source").layer] == ["data", "double"]
    finally:
        del REGISTRY["Double"]
