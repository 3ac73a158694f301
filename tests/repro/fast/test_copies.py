"""An accelerated net can be copied, saved and sent to another process; what is known of it belongs to the copy."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from helpers.copies import COPIES
from helpers.small import WIDTH

import reference
import repro
from converters import CaffeError, CaffeNet, Preprocessing
from converters.pytorch.weights import read_weights, write_weights

IMAGE = 60 * torch.randn(1, 3, 60, 47, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net(fcn_weights, tmp_path):
    """A net that `repro.load` made of a .safetensors, with preprocessing of its own."""
    path = tmp_path / "fcn.safetensors"
    write_weights(path, read_weights(fcn_weights("voc-fcn8s"))[0], Preprocessing(mean=(1.0, 2.0, 3.0), scale=0.5))
    return repro.load("voc-fcn8s", path)


def drown(net):
    """Change the weights so that the last class wins everywhere."""
    with torch.no_grad():
        net.params["score_fr"][1][-1] += 1e6


@pytest.mark.parametrize("before", [False, True], ids=["plain", "accelerated"])
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_labels_the_same_and_is_on_its_own(net, copied, before):
    fast = repro.accelerate(net) if before else None
    labels = repro.segment(net, IMAGE)
    again = copied(net)
    np.testing.assert_array_equal(repro.segment(again, IMAGE), labels)
    assert again.preprocessing == net.preprocessing
    ours, theirs = repro.accelerate(net), repro.accelerate(again)
    assert fast in (None, ours) and ours.net is net and theirs.net is again and theirs.plainly is None
    drown(again)
    assert (repro.segment(again, IMAGE) == 2).all()
    np.testing.assert_array_equal(repro.segment(net, IMAGE), labels)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_the_accelerated_has_a_net_of_its_own(net, copied):
    fast = repro.accelerate(net)
    labels = fast.labels(IMAGE)
    again = copied(fast)
    assert again.net is not net and repro.accelerate(again.net) is again
    drown(net)
    assert (fast.labels(IMAGE) == 2).all()
    np.testing.assert_array_equal(again.labels(IMAGE), labels)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_net_that_runs_plainly(copied):
    net = CaffeNet("layer { name: 'mean' type: 'MVN' bottom: 'data' top: 'prob' }\n")
    fast = copied(repro.accelerate(net))
    assert "mean" in fast.plainly
    assert torch.equal(fast(data=IMAGE)["prob"], net(data=IMAGE)["prob"])


def test_unknown_blobs_are_refused_at_once(net):
    with pytest.raises(CaffeError, match="no blob 'scroe'; did you mean 'score'"):
        repro.accelerate(net, ["scroe"])


def test_what_was_computed_does_not_travel_nor_hold_the_original(net):
    repro.segment(net, IMAGE)
    assert len(pickle.dumps(net)) < 2 * sum(blob.nbytes for blob in net.state_dict().values())
    first = copy.deepcopy(net)
    repro.segment(first, IMAGE)
    second, original = copy.deepcopy(first), weakref.ref(first)
    repro.segment(second, IMAGE)
    del first
    gc.collect()
    assert original() is None


def test_another_process(net):
    repro.accelerate(net)
    shared = CaffeNet(reference.net("nyud-fcn32s-color-d", "deploy", width=WIDTH))
    inputs = [torch.ones(1, shape[1], 20, 30) for shape in shared.input_shapes.values()]
    with torch.multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(repro.segment, (net, IMAGE)), repro.segment(net, IMAGE))
        labels = pool.apply(repro.accelerate(shared).labels, inputs)
    np.testing.assert_array_equal(labels, repro.accelerate(shared).labels(*inputs))
