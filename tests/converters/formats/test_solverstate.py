"""Solver states against a snapshot of real Caffe's, in both containers."""

import h5py
import numpy as np
import pytest

from converters.caffe_pb2 import SolverState as Proto
from converters.errors import CaffeError, CaffeFileError
from converters.formats.solverstate import SolverState, read_solverstate, write_solverstate

SUFFIXES = [".solverstate", ".solverstate.h5"]


@pytest.fixture
def folder(golden):
    return golden / "formats"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_caffes_snapshot_is_read(folder, suffix):
    state = read_solverstate(folder / f"tiny_iter_3{suffix}")
    assert state.learned_net == f"tiny_iter_3.caffemodel{'.h5' if suffix.endswith('h5') else ''}"
    with np.load(folder / "tiny_iter_3.npz") as expected:
        assert state.iter == expected["iter"]
        assert len(state.history) == sum(name.startswith("hist_") for name in expected)
        for k, array in enumerate(state.history):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, expected[f"hist_{k}"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(folder, tmp_path, suffix):
    state = read_solverstate(folder / "tiny_iter_3.solverstate")
    state.current_step, state.learned_net = 2, "größe/net.caffemodel"
    write_solverstate(tmp_path / f"copy{suffix}", state)
    copy = read_solverstate(tmp_path / f"copy{suffix}")
    assert (copy.iter, copy.current_step, copy.learned_net) == (3, 2, "größe/net.caffemodel")
    assert [(a.shape, a.tobytes()) for a in copy.history] == [(a.shape, a.tobytes()) for a in state.history]


def test_containers_hold_what_caffe_looks_for(folder, tmp_path):
    state = read_solverstate(folder / "tiny_iter_3.solverstate")
    write_solverstate(tmp_path / "copy.solverstate", state)
    ours = Proto.FromString((tmp_path / "copy.solverstate").read_bytes())
    assert ours == Proto.FromString((folder / "tiny_iter_3.solverstate").read_bytes())

    write_solverstate(tmp_path / "copy.solverstate.h5", read_solverstate(folder / "tiny_iter_3.solverstate.h5"))
    with h5py.File(tmp_path / "copy.solverstate.h5") as ours, h5py.File(folder / "tiny_iter_3.solverstate.h5") as caffes:
        assert set(ours) == set(caffes)
        for name in ("iter", "current_step"):
            assert (ours[name].shape, ours[name].dtype, ours[name][0]) == (
                caffes[name].shape,
                caffes[name].dtype,
                caffes[name][0],
            )
        # Caffe takes the bytes up to a NUL, so there must be one.
        assert ours["learned_net"].id.get_type().get_size() == len("tiny_iter_3.caffemodel.h5") + 1
        assert set(ours["history"]) == set(caffes["history"])


@pytest.mark.parametrize("name", ["tiny_v2.caffemodel", "tiny_v2.caffemodel.h5", "mean.binaryproto", "tiny_v2.prototxt"])
def test_other_files_are_refused(folder, name):
    with pytest.raises(CaffeFileError, match=name):
        read_solverstate(folder / name)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(CaffeError, match=r"\.solverstate or \.h5"):
        write_solverstate(tmp_path / "state.pt", SolverState())
