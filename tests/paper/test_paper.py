"""The paper's numbers: every line of `repro verify`.

FOLDER (data unless told) is where `repro fetch` has put sets and weights, RUNS (runs) where `repro reproduce` has left its
runs; what is not there is skipped with the command that gets it.
"""

import os

import pytest

import reference
from repro import verify
from repro.at_hand import AtHand

pytestmark = pytest.mark.paper

VOC = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]


def check(row):
    if row.missing:
        pytest.skip(f"{row.what}: {row.missing}")
    assert row.verdict != "FAILED", f"{row.what}: ours {row.ours}, published {row.published}"


@pytest.mark.parametrize("row", list(verify.fact_checks()), ids=lambda row: row.what)
def test_fact(row):
    assert row.ours == row.published


def test_class_names_are_vocs():
    assert reference.classes("voc") == VOC
    assert reference.classes("pascalcontext")[0] == "background"


@pytest.mark.parametrize("net", verify.RELEASED)
def test_released_weights(net):
    rows = list(verify.released_checks(AtHand(os.environ.get("FOLDER", "data")), [net]))
    if not rows:
        pytest.skip(f"{net}: no score was published")
    for row in rows:
        check(row)


def test_retrained_nets():
    for row in verify.retrained_checks(os.environ.get("RUNS", "runs")):
        check(row)
