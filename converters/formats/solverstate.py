"""Caffe's solver states: the iteration and the momentum that a training run goes on from, in both containers."""

from dataclasses import dataclass, field

import numpy as np

from converters.caffe_pb2 import SolverState as SolverStateProto
from converters.errors import CaffeError
from converters.files import FilePath, atomic_write
from converters.formats.blob import as_floats, blob_field, parse_blob
from converters.formats.wire import BYTES, MAX_BYTES, Malformed, blame, is_hdf5, map_file, read_fields, refuse_other_kinds

HISTORY = 3  # SolverState's field number
MAX_TEXT = 1 << 16  # bytes of all the rest


@dataclass
class SolverState:
    """Where a solver stands (sgd_solver.cpp): `history` has an array for each parameter, in the net's order.

    learned_net names the weights that belong to it; current_step counts the steps of the multistep rate taken so far.
    """

    iter: int = 0
    learned_net: str = ""
    current_step: int = 0
    history: list[np.ndarray] = field(default_factory=list)


def read_solverstate(path: FilePath) -> SolverState:
    """The `SolverState` in a .solverstate or .solverstate.h5, told apart by what is in it. Raises `CaffeFileError`.

    As in `read_caffemodel`, the arrays of a protobuf are views of a private memory map of the file.
    """
    with blame(path):
        data = map_file(path)
        if is_hdf5(data):
            return _read_hdf5(path)
        refuse_other_kinds(data, "a solverstate")
        rest = bytearray()
        history: list[np.ndarray] = []
        for part in read_fields(data, 0, len(data)):
            if part.number == HISTORY and part.wire == BYTES:
                where = f"history blob {len(history)}"
                array, _, unknown = parse_blob(data, part.value, part.end, where)
                if unknown:
                    raise Malformed(f"has {unknown[0]}, which no blob has; not a solverstate", where)
                history.append(array)
            elif part.number in SolverStateProto.DESCRIPTOR.fields_by_number and part.end - part.start < MAX_TEXT:
                rest += data[part.start : part.end]
            else:
                raise Malformed(f"field {part.number} is none of a solverstate's", f"byte {part.start}")
        state = SolverStateProto.FromString(bytes(rest))
        if not state.HasField("iter"):
            raise Malformed("has no iteration; not a solverstate")
        if isinstance(state.learned_net, bytes):
            raise Malformed("the learned_net's name is not UTF-8; the file is damaged")
        return SolverState(state.iter, state.learned_net, state.current_step, history)


def write_solverstate(path: FilePath, state: SolverState) -> None:
    """Write a `SolverState` that Caffe 1.0 restores: protobuf as `.solverstate`, HDF5 as `.h5`.

    Raises CaffeError for another suffix, for a history of more than 2 GB in protobuf, and where the file cannot be written.
    """
    if str(path).endswith(".h5"):
        _write_hdf5(path, state)
    elif str(path).endswith(".solverstate"):
        if sum(np.size(array) for array in state.history) * 4 > MAX_BYTES:
            raise CaffeError(f"{path}: the history is more than a protobuf can hold (2 GB); write a .solverstate.h5")
        proto = SolverStateProto(iter=state.iter, learned_net=state.learned_net, current_step=state.current_step)
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            file.write(proto.SerializeToString())
            for array in map(as_floats, state.history):
                file.write(blob_field(HISTORY, array.shape)[0])
                file.write(array.data)
    else:
        raise CaffeError(f"{path}: a solver's state is written as .solverstate or .h5")


def _read_hdf5(path: FilePath) -> SolverState:
    import h5py

    from converters.formats.hdf5 import Budget, child, has, open_hdf5, read_arrays, read_dataset

    with open_hdf5(path) as file:
        budget, numbers = Budget(path), {}
        for name in ("iter", "current_step"):
            value = read_dataset(file, name, budget)
            if value.dtype.kind not in "iu" or value.size != 1:
                raise Malformed("is not one integer", f"/{name}")
            numbers[name] = int(value.reshape(()))
        text = read_dataset(file, "learned_net", budget) if has(file, "learned_net") else np.array(b"")
        if text.dtype.kind != "S" or text.size != 1:
            raise Malformed("is not one text", "/learned_net")
        learned_net = bytes(text.reshape(())[()]).decode()
        history = read_arrays(child(file, "history", h5py.Group), budget)
        return SolverState(numbers["iter"], learned_net, numbers["current_step"], history)


def _write_hdf5(path: FilePath, state: SolverState) -> None:
    from converters.formats.hdf5 import created_hdf5, write_arrays

    with created_hdf5(path) as file:
        for name in ("iter", "current_step"):
            file.create_dataset(name, data=np.array([getattr(state, name)], "<i4"))
        text = state.learned_net.encode()
        # One byte more than the text, since Caffe reads up to a NUL.
        file.create_dataset("learned_net", data=np.array(text, f"S{len(text) + 1}"))
        write_arrays(file.create_group("history"), state.history)
