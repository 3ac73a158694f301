"""The paper's numbers: every line of `repro verify`.

FOLDER (data unless told) is where `repro fetch` has put sets and weights, RUNS (runs) where `repro reproduce` has left its
runs; what is not there is skipped with the command that gets it.
"""

import os

import pytest

import reference
from repro.data.locate import AtHand
from repro.reproduction import compare

pytestmark = pytest.mark.paper

AT_HAND = AtHand(os.environ.get("FOLDER", "data"))
VOC = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]


def check(rows):
    """Fail where any row does; else skip, if some could not be compared, and say which."""
    failed = [f"{row.what}: ours {row.ours}, published {row.published}" for row in rows if row.verdict == "FAILED"]
    assert not failed, "; ".join(failed)
    if missing := [f"{row.what}: {row.missing}" for row in rows if row.missing]:
        pytest.skip(missing[0] + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""))


@pytest.mark.parametrize("row", list(compare.fact_checks()), ids=lambda row: row.what)
def test_fact(row):
    assert row.ours == row.published


def test_class_names_are_vocs():
    assert reference.classes("voc") == VOC
    assert reference.classes("pascalcontext")[0] == "background"


@pytest.mark.parametrize("row", list(compare.set_checks(AT_HAND)), ids=lambda row: row.what)
def test_set(row):
    check([row])


@pytest.mark.parametrize("net", [net for net in compare.RELEASED if compare.published_scores(net)[0]])
def test_released_weights(net):
    check(list(compare.released_checks(AT_HAND, [net])))


@pytest.mark.parametrize("row", list(compare.retrained_checks(os.environ.get("RUNS", "runs"))), ids=lambda row: row.what)
def test_retrained_nets(row):
    check([row])
