"""Weights out of Caffe's containers and into PyTorch's, by the suffix of what is written."""

from pathlib import Path

import numpy as np

from converters.caffemodel import read_caffemodel, write_caffemodel
from converters.errors import CaffeError
from converters.files import written_whole


def convert_weights(source, target):
    """Convert the caffemodel `source` to `target` and return what was read, a `Caffemodel`.

    .safetensors, .pt (plain tensors, for torch.load with weights_only=True) and .npz hold the keys of CaffeNet's state_dict;
    .caffemodel, .h5 and .caffemodel.h5 are Caffe's own.
    """
    target = Path(target)
    writer = WRITERS.get(target.suffix)
    if writer is None:
        raise CaffeError(f"{target}: do not know how to write '{target.suffix}': choose one of {', '.join(WRITERS)}")
    model = read_caffemodel(source)
    writer(target, model)
    return model


def state_dict(blobs):
    """{"<layer>.weight": array, "<layer>.bias": array}: blobs under the keys of CaffeNet's state_dict."""
    names = ("weight", "bias")
    state = {}
    for layer, arrays in blobs.items():
        if len(arrays) > len(names):
            raise CaffeError(f"layer '{layer}' has {len(arrays)} blobs: only weights and biases are known by name")
        state |= {f"{layer.replace('.', '_')}.{name}": array for name, array in zip(names, arrays, strict=False)}
    return state


def _write_caffe(path, model):
    write_caffemodel(path, model.net, model.blobs)


def _write_safetensors(path, model):
    from safetensors.numpy import save_file

    with written_whole(path) as temporary:
        save_file(state_dict(model.blobs), temporary)


def _write_pt(path, model):
    import torch

    with written_whole(path) as temporary:
        torch.save({key: torch.from_numpy(array) for key, array in state_dict(model.blobs).items()}, temporary)


def _write_npz(path, model):
    with written_whole(path) as temporary:
        np.savez(temporary, **state_dict(model.blobs))


WRITERS = {".safetensors": _write_safetensors, ".pt": _write_pt, ".npz": _write_npz, ".caffemodel": _write_caffe,
           ".h5": _write_caffe}
