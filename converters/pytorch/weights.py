"""Weights out of Caffe's containers and into PyTorch's, and back, by the suffix of what is written."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.errors import CaffeError, CaffeFileError, counted
from converters.files import FilePath, atomic_write
from converters.formats.blob import as_floats, dims_text, unique_names
from converters.formats.caffemodel import TYPES, Caffemodel, read_caffemodel, write_caffemodel
from converters.formats.prototxt import format_prototxt, read_prototxt
from converters.formats.wire import check_file
from converters.pytorch.keys import has_blobs, state_dict
from converters.pytorch.preprocessing import Preprocessing

if TYPE_CHECKING:  # what reads and writes Caffe's files does without torch
    import torch

    from converters.net import CaffeNet

ORDER = ("weight", "running_mean", "running_var", "scale_factor", "bias")  # of a layer's blobs


def read_weights(source: FilePath, prototxt: FilePath | None = None, aligned: bool = True) -> tuple[Caffemodel, list[str]]:
    """The caffemodel `source` to be written as something else: (`Caffemodel`, remarks, one line each).

    prototxt: the description to go by where the file has none (HDF5) or another one; blobs of layers it lacks are left out.
    The remarks name those, what it has no blobs for, doubles, and all that Caffe 1.0 does not know.
    """
    model = read_caffemodel(source, aligned)
    remarks = [f"not known to Caffe 1.0: {line}" for line in model.unknown]
    if prototxt:
        unknown: list[str] = []
        model.net = read_prototxt(prototxt, unknown)
        remarks += [f"not known to Caffe 1.0: {prototxt}: {line}" for line in unknown]
        unique = unique_names(layer.name for layer in model.net.layer)
        names = dict(zip(unique, map(has_blobs, model.net.layer), strict=True))
        remarks += [f"left out: layer '{name}' is not in {prototxt}" for name in model.blobs if name not in names]
        remarks += [f"missing: layer '{name}' has no blobs in {source}"
                    for name, wanted in names.items() if wanted and name not in model.blobs]
        model.blobs = {name: arrays for name, arrays in model.blobs.items() if name in names}
    remarks += [f"not known to Caffe 1.0: layer '{layer.name}' of type '{layer.type}'"
                for layer in model.net.layer if layer.type and layer.type not in TYPES]
    if model.doubles:
        remarks.append(f"doubles, written as floats: {', '.join(model.doubles)}")
    return model, remarks


def set_blob(model: Caffemodel, place: str, path: FilePath) -> None:
    """Put the array of a .npy file in the place of a blob of `model`; `place` is "<layer>/<index>".

    A blob that is there keeps its shape, and the array must have as many numbers; one more blob may be added.
    """
    layer, _, number = place.rpartition("/")
    if layer not in unique_names(known.name for known in model.net.layer) or not number.isdecimal():
        raise CaffeError(f"cannot set '{place}': give LAYER/INDEX of a layer in the net, as in conv1/0")
    check_file(path)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CaffeFileError(path, f"cannot be read as one array (.npy): {' '.join(str(error).split())}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise CaffeFileError(path, "is not one array of numbers (.npy)")
    arrays, index = list(model.blobs.get(layer, ())), int(number)
    if index > len(arrays):
        raise CaffeError(f"cannot set '{place}': layer '{layer}' has {counted(len(arrays), 'blob')}")
    if index < len(arrays) and array.size != arrays[index].size:
        raise CaffeError(f"{path} has shape {dims_text(array.shape)}, but blob {place} {dims_text(arrays[index].shape)}")
    shape = arrays[index].shape if index < len(arrays) else array.shape
    arrays[index:index + 1] = [as_floats(array).reshape(shape)]
    model.blobs[layer] = arrays


def write_weights(target: FilePath, model: Caffemodel, preprocessing: Preprocessing | None = None) -> None:
    """Write a `Caffemodel` by the suffix of `target`.

    .safetensors, .pt (plain tensors, for torch.load with weights_only=True) and .npz hold the keys of CaffeNet's
    state_dict; .caffemodel, .h5 and .caffemodel.h5 are Caffe's own. A .safetensors also keeps the `Preprocessing` and the
    prototxt.
    """
    target, preprocessing = Path(target), preprocessing or Preprocessing()
    check_target(target)
    if preprocessing != Preprocessing() and target.suffix != ".safetensors":
        raise CaffeError(f"{target}: only a .safetensors keeps means, scale, channel order, input size and classes")
    WRITERS[target.suffix](target, model, preprocessing)


def check_target(target: FilePath) -> None:
    """Raise CaffeError unless weights can be written to a file of that name."""
    if Path(target).suffix not in WRITERS:
        raise CaffeError(f"{target}: weights are written as {', '.join(WRITERS)}; choose one of these suffixes")


def read_checkpoint(path: FilePath) -> dict[str, "torch.Tensor"]:
    """{key: tensor} of a .safetensors, or of a .pt or the "state_dict" or "model" in it, read with weights_only=True."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from converters.pytorch.safetensors_file import unreadable

    check_file(path)
    if Path(path).suffix in (".caffemodel", ".h5", ".prototxt"):
        raise CaffeFileError(path, "is Caffe's, not a checkpoint of PyTorch's; give a .safetensors or a .pt")
    if Path(path).suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise unreadable(path, error) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling reports damage as any of a dozen types
        reason = str(error).strip().split("\n")[0][:200]
        raise CaffeFileError(path, f"cannot be read as a .pt of plain tensors (weights_only=True): {reason}") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CaffeFileError(path, "is not a state_dict: {key: tensor}")
    return state


def read_blobs(path: FilePath) -> dict[str, list[np.ndarray]]:
    """{layer: [array, ...]} of a caffemodel of any kind, or of a .safetensors or .pt with the keys of CaffeNet's state_dict.

    Layers bear their names as in the keys, dots as underscores.
    """
    if Path(path).suffix not in (".safetensors", ".pt"):
        return read_caffemodel(path).blobs
    blobs: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in read_checkpoint(path).items():
        layer, dot, name = key.rpartition(".")
        if not dot or name not in ORDER:
            raise CaffeFileError(path, f"has '{key}', which is no key of a CaffeNet's state_dict (<layer>.weight)")
        blobs.setdefault(layer, {})[name] = tensor.float().contiguous().numpy()
    return {layer: [arrays[name] for name in sorted(arrays, key=ORDER.index)] for layer, arrays in blobs.items()}


def blobs_of(net: "CaffeNet", state: Mapping[str, "torch.Tensor"], path: FilePath) -> dict[str, list[np.ndarray]]:
    """{layer: [float32 array, ...]} for `net`, a CaffeNet, of its state_dict; `path` is where it is from, for errors.

    Every key of the net must be there, and no other, in its shape.
    """
    blobs, left = {}, dict(state)
    for name, layer in net.layers.items():
        arrays = []
        for blob_name, blob in zip(layer.blob_names, layer.blobs(), strict=True):
            key = f"{name.replace('.', '_')}.{blob_name}"
            if key not in state:
                raise CaffeFileError(path, f"has no '{key}', which the net needs; is it a checkpoint of this net?")
            left.pop(key, None)
            if blob is not None and blob.shape != state[key].shape:
                raise CaffeFileError(path, f"has shape {dims_text(state[key].shape)}, the net {dims_text(blob.shape)}", key)
            arrays.append(state[key].float().contiguous().numpy())
        if arrays:
            blobs[name] = arrays
    if left:
        raise CaffeFileError(path, f"has '{next(iter(left))}', which the net does not"
                             + (f" ({len(left) - 1} more like it)" if len(left) > 1 else ""))
    return blobs


def _write_caffe(path: Path, model: Caffemodel, preprocessing: Preprocessing) -> None:
    write_caffemodel(path, model.net, model.blobs)


def _write_safetensors(path: Path, model: Caffemodel, preprocessing: Preprocessing) -> None:
    from converters.pytorch.safetensors_file import write_safetensors

    metadata = preprocessing.metadata()
    if all(layer.type for layer in model.net.layer):
        metadata["prototxt"] = format_prototxt(model.net)
    write_safetensors(path, state_dict(model.net, model.blobs), metadata)


def _write_pt(path: Path, model: Caffemodel, preprocessing: Preprocessing) -> None:
    import torch

    tensors = {key: torch.from_numpy(array) for key, array in state_dict(model.net, model.blobs).items()}
    with atomic_write(path) as temporary:
        try:
            torch.save(tensors, temporary)
        except RuntimeError as error:  # what torch makes of a disk that is full
            reason = str(error).strip().split("\n")[0][:200]
            raise CaffeFileError(path, f"cannot be written; is there room for it? ({reason})") from None


def _write_npz(path: Path, model: Caffemodel, preprocessing: Preprocessing) -> None:
    # As numpy.savez, which before numpy 2 leaves the file open where the disk is full, and Python complains as it ends.
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for key, array in state_dict(model.net, model.blobs).items():
            with file.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


WRITERS: dict[str, Callable[[Path, Caffemodel, Preprocessing], None]] = {
    ".safetensors": _write_safetensors, ".pt": _write_pt, ".npz": _write_npz, ".caffemodel": _write_caffe,
    ".h5": _write_caffe,
}
