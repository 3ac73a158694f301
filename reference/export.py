"""A published net as the directory that the release keeps of it, for real Caffe."""

from pathlib import Path

from converters.caffe_pb2 import LayerParameter
from converters.formats.prototxt import write_prototxt
from reference import means
from reference.nets import net
from reference.solvers import solver

SEED = 1337


def export(name, folder, num_classes=None, width=1):
    """Write a net's prototxts into `folder`; returns their paths.

    An FCN gets what its solver names (train and val, or trainval and test), with the Python data layers of the release's
    *_layers.py, and solver.prototxt and deploy.prototxt; a classifier, which has no solver here, deploy.prototxt alone.
    The paths of the data are the release's, from the net's directory. num_classes and width as in `reference.net`.
    """
    folder = Path(folder)
    files = {"deploy.prototxt": net(name, "deploy", num_classes, width)}
    if "-fcn" in name:
        files["solver.prototxt"] = param = solver(name)
        for phase, file in ("train", param.train_net), ("val", param.test_net[0]):
            files[file] = _with_data(name, net(name, phase, num_classes, width), Path(file).stem)
        (folder / param.snapshot_prefix).parent.mkdir(parents=True, exist_ok=True)  # Caffe does not make it
    for file, message in files.items():
        write_prototxt(folder / file, message)
    return [folder / file for file in files]


def _with_data(name, param, split):
    """The net with its Input layer, the first, replaced by a Python data layer."""
    tops = list(param.layer[0].top)
    module, layer, settings = DATA[name.partition("-")[0]](name, split, tops)
    python = {"module": module, "layer": layer, "param_str": str(settings | {"seed": SEED})}
    param.layer[0].CopyFrom(LayerParameter(name=tops[0], type="Python", top=tops, python_param=python))
    return param


def _voc(name, split, tops):
    if split == "train":
        return "voc_layers", "SBDDSegDataLayer", {"sbdd_dir": "../data/sbdd/dataset", "split": split, "mean": means.VOC}
    return "voc_layers", "VOCSegDataLayer", {"voc_dir": "../data/pascal/VOC2011", "split": "seg11valid", "mean": means.VOC}


def _nyud(name, split, tops):
    one_input = name.rpartition("-")[2]  # color or hha, which that net calls data
    kinds = [one_input if top == "data" else top for top in tops]
    return "nyud_layers", "NYUDSegDataLayer", {"nyud_dir": "../data/nyud", "split": split, "tops": kinds}


def _siftflow(name, split, tops):
    return "siftflow_layers", "SIFTFlowSegDataLayer", {"siftflow_dir": "../data/sift-flow", "split": split}


def _pascalcontext(name, split, tops):
    return "pascalcontext_layers", "PASCALContextSegDataLayer", {
        "voc_dir": "../data/pascal", "context_dir": "../data/pascal-context", "split": split}


DATA = {"voc": _voc, "nyud": _nyud, "siftflow": _siftflow, "pascalcontext": _pascalcontext}
