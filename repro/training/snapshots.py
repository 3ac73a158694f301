"""Snapshots of a solver: everything that a resumed run needs to go on as if never stopped.

`.safetensors` holds it all in one file: weights, history, iteration, the order of the data and each process's random state.
`.solverstate` and `.solverstate.h5` are Caffe's own pair, with the `.caffemodel` (or `.caffemodel.h5`) written beside it;
they carry neither the data's order nor the random state, as Caffe's do not.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from converters import CaffeFileError, read_solverstate, write_caffemodel, write_solverstate
from converters.files import atomic_write
from converters.formats.blob import dims_text
from converters.formats.solverstate import SolverState
from repro import distributed

FORMAT = "repro-snapshot-1"
CAFFE = {".solverstate": ".caffemodel", ".solverstate.h5": ".caffemodel.h5"}


def write(path, solver):
    """Write a snapshot of `solver` in the format that the suffix of `path` names. Of several processes all must call it."""
    path = Path(path)
    random_states = {name: torch.stack(distributed.all_gather(generator.get_rng_state()))
                     for name, generator in _generators(solver.device).items()}
    if distributed.rank():
        return
    weights_suffix = _caffe_suffix(path)
    if weights_suffix:
        weights = path.with_name(path.name.removesuffix(_suffix(path)) + weights_suffix)
        # The weights first: a solverstate never names weights that are not there.
        write_caffemodel(weights, solver.net.param, solver.net.to_blobs())
        history = [blob.detach().cpu().contiguous().numpy() for blob in solver.history]
        write_solverstate(path, SolverState(iter=solver.iter, learned_net=str(weights), current_step=solver.current_step,
                                            history=history))
        return
    tensors = {f"weights/{item.name}": item.blob.detach() for item in solver.learnable}
    tensors |= {f"history/{index}": blob for index, blob in enumerate(solver.history)}
    tensors |= random_states
    about = {"format": FORMAT, "iter": solver.iter, "current_step": solver.current_step, "losses": list(solver.losses),
             "feed": solver.feed_state()}
    with atomic_write(path) as temporary:
        try:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary,
                      {key: json.dumps(value) for key, value in about.items()})
        except SafetensorError as error:
            raise CaffeFileError(path, f"cannot be written: {error}") from None


def read(path, solver):
    """Put `solver` where the snapshot at `path` was taken. Raises CaffeFileError for a snapshot of another net."""
    path = Path(path)
    if _caffe_suffix(path):
        _read_caffe(path, solver)
        return
    try:
        with safe_open(path, "pt") as file:
            about = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError:
        raise CaffeFileError(path, "no such snapshot") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise CaffeFileError(path, f"not a snapshot, or damaged: {error}") from None
    if about.get("format") != FORMAT:
        raise CaffeFileError(path, "not a solver's snapshot")
    targets = {f"weights/{item.name}": item.blob for item in solver.learnable}
    targets |= {f"history/{index}": blob for index, blob in enumerate(solver.history)}
    random_states = {name: torch.atleast_2d(tensors.pop(name)) for name in list(tensors) if name.startswith("random_state")}
    _require_match(path, targets, tensors)
    solver.go_on(about["iter"], about["current_step"], about["losses"], about["feed"])
    _copy(targets, tensors)
    for name, generator in _generators(solver.device).items():
        # A process that the snapshot does not know goes on with the random numbers it was started with.
        if name in random_states and distributed.rank() < len(random_states[name]):
            generator.set_rng_state(random_states[name][distributed.rank()].clone())  # a view would be read from its base


def _generators(device):
    """{name in the file: what keeps a random state}: the processor's, and that of the GPU a net is on."""
    own = {} if device.type == "cpu" else {f"random_state_{device.type}": getattr(torch, device.type)}
    return {"random_state": torch.random} | own


def _read_caffe(path, solver):
    state = read_solverstate(path)
    # Where the run was moved, the weights are looked for beside the state.
    weights = next((place for place in (Path(state.learned_net), path.parent / Path(state.learned_net).name)
                    if state.learned_net and place.exists()), None)
    if weights is None:
        raise CaffeFileError(path, f"its weights '{state.learned_net}' are neither there nor beside it")
    targets = {f"history/{index}": blob for index, blob in enumerate(solver.history)}
    sources = {f"history/{index}": torch.from_numpy(np.array(blob)) for index, blob in enumerate(state.history)}
    _require_match(path, targets, sources)
    solver.net.copy_from(weights)
    _copy(targets, sources)
    solver.go_on(state.iter, state.current_step, (), None)


def _require_match(path, targets, sources):
    """Check names and shapes, before the first tensor is touched."""
    if targets.keys() != sources.keys():
        odd = sorted(targets.keys() ^ sources.keys())
        raise CaffeFileError(path, f"a snapshot of another net or solver type: {odd[0]} is on one side only")
    for name, target in targets.items():
        if target.numel() != sources[name].numel():
            raise CaffeFileError(path, f"a snapshot of another net: its shape is {dims_text(sources[name].shape)}, "
                                       f"the net's {dims_text(target.shape)}", name)


@torch.no_grad()
def _copy(targets, sources):
    for name, target in targets.items():
        target.copy_(sources[name].reshape(target.shape))


def _suffix(path):
    return next((suffix for suffix in sorted(CAFFE, reverse=True) if path.name.endswith(suffix)), "")


def _caffe_suffix(path):
    return CAFFE.get(_suffix(path))
