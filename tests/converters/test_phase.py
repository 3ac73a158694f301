"""Which layers a phase, a level and stages keep (net.cpp, StateMeetsRule)."""

import pytest

from converters import CaffeError
from converters.formats.prototxt import read_prototxt
from converters.phase import filter_net


def kept(rules, phase="test", level=None, stages=(), state=""):
    """Whether a layer with these rules is in the net."""
    net = read_prototxt(f"state {{ {state} }} layer {{ name: 'l' type: 'ReLU' bottom: 'x' top: 'y' {rules} }}")
    return len(filter_net(net, phase, level, stages).layer) == 1


@pytest.mark.parametrize(("rule", "stages", "meets"), [
    ("not_stage: 'a'", (), True),
    ("not_stage: 'a'", ("a",), False),
    ("not_stage: 'a'", ("b",), True),
    ("not_stage: 'a' not_stage: 'b'", ("b",), False),  # one of them is enough to keep it out
    ("not_stage: 'a' not_stage: 'b'", ("c",), True),
    ("stage: 'a' not_stage: 'b'", ("a",), True),
    ("stage: 'a' not_stage: 'b'", ("a", "b"), False),
    ("stage: 'a' not_stage: 'b'", (), False),
    ("stage: 'a' stage: 'b'", ("a",), False),  # all of them are needed
    ("stage: 'a' stage: 'b'", ("b", "c", "a"), True)])
def test_stages(rule, stages, meets):
    assert kept(f"include {{ {rule} }}", stages=stages) == meets
    assert kept(f"exclude {{ {rule} }}", stages=stages) != meets
    state = " ".join(f"stage: '{stage}'" for stage in stages)
    assert kept(f"include {{ {rule} }}", state=state) == meets  # the net's own stages count as well


@pytest.mark.parametrize(("rule", "level", "meets"), [
    ("min_level: 2", 1, False), ("min_level: 2", 2, True), ("max_level: 2", 2, True), ("max_level: 2", 3, False),
    ("min_level: 1 max_level: 2", 0, False), ("min_level: 1 max_level: 2", 2, True), ("min_level: 1", None, False),
    ("max_level: -1", None, False), ("min_level: 0 max_level: 0", None, True)])
def test_levels(rule, level, meets):
    assert kept(f"include {{ {rule} }}", level=level) == meets
    assert kept(f"exclude {{ {rule} }}", level=level) != meets
    if level is not None:
        assert kept(f"include {{ {rule} }}", state=f"level: {level}") == meets
        assert kept(f"include {{ {rule} }}", level=level, state="level: 7") == meets  # what is given goes before


def test_one_of_several_rules_is_enough():
    rules = "include { phase: TRAIN } include { stage: 'a' }"
    assert kept(rules, "train") and kept(rules, stages=["a"]) and not kept(rules)
    rules = "exclude { phase: TRAIN } exclude { stage: 'a' }"
    assert not kept(rules, "train") and not kept(rules, stages=["a"]) and kept(rules)
    with pytest.raises(CaffeError, match="layer 'l': give include rules or exclude rules, not both"):
        kept("include { phase: TRAIN } exclude { phase: TEST }")
    with pytest.raises(CaffeError, match="unknown phase 'deploy'"):
        kept("", "deploy")
