"""A published net as the directory that the release keeps of it, for real Caffe."""

from pathlib import Path
from typing import Any

from converters.caffe_pb2 import LayerParameter, NetParameter, SolverParameter
from converters.files import FilePath
from converters.formats.prototxt import write_prototxt
from reference.families import Classes, DataLayer, family_of
from reference.nets import net
from reference.netspec import Width
from reference.solvers import solver

SEED = 1337


def export(name: str, folder: FilePath, num_classes: Classes | None = None, width: Width = 1) -> list[Path]:
    """Write a net's prototxts into `folder`; returns their paths.

    An FCN gets what its solver names (train and val, or trainval and test), with the Python data layers of the release's
    *_layers.py, and solver.prototxt and deploy.prototxt. A net without such data layers, as a classifier, gets
    deploy.prototxt alone.
    The paths of the data are the release's, from the net's directory. num_classes and width as in `reference.net`.
    """
    folder = Path(folder)
    files: dict[str, NetParameter | SolverParameter] = {"deploy.prototxt": net(name, "deploy", num_classes, width)}
    if _data_layers(name):
        files["solver.prototxt"] = param = solver(name)
        for phase, file in ("train", param.train_net), ("val", param.test_net[0]):
            files[file] = _with_data(name, net(name, phase, num_classes, width), phase)
        (folder / param.snapshot_prefix).parent.mkdir(parents=True, exist_ok=True)  # Caffe does not make it
    for file, message in files.items():
        write_prototxt(folder / file, message)
    return [folder / file for file in files]


def _data_layers(name: str) -> tuple[DataLayer, ...]:
    return family_of(name).data_layers if "-fcn" in name else ()


def _with_data(name: str, param: NetParameter, phase: str) -> NetParameter:
    """The net with its Input layer, the first, replaced by a Python data layer."""
    family, tops = family_of(name), list(param.layer[0].top)
    place = 0 if phase == "train" else 1
    data = family.data_layers[place]
    settings: dict[str, Any] = {**data.folders, "split": family.splits[place]}
    if data.has_mean:
        settings["mean"] = family.mean
    if family.inputs:
        inputs = family.inputs_of(name)
        settings["tops"] = [inputs.get(top, top) for top in tops]
    python = {"module": f"{family.name}_layers", "layer": data.layer, "param_str": str(settings | {"seed": SEED})}
    param.layer[0].CopyFrom(LayerParameter(name=tops[0], type="Python", top=tops, python_param=python))
    return param
