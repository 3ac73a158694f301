"""Running the release's own directories: a solver.prototxt, its nets, and their Python data layers.

The data layers are found by name and stand for the readers of `repro.data`; no Python of the directory is run, and a
param_str is read as a literal.
"""

from pathlib import Path

from converters import CaffeError, CaffeNet, read_prototxt, read_solver
from reference.recognition import settings_of
from repro import distributed
from repro.data import Feed, open_nyud, open_pascalcontext, open_sbd, open_siftflow, open_voc

SEED = 1337  # where a data layer has none: Caffe would take the time


def open_release(path):
    """(SolverParameter, CaffeNet in its training phase, Feed) of a solver prototxt.

    Relative paths in these files are looked for from the working directory, as Caffe does, and then from the solver's
    folder. Raises CaffeError where a file, the data or a known data layer is missing.
    """
    folder = Path(path).parent
    param = read_solver(path)
    state = param.train_state
    net = CaffeNet(_train_net(param, path), "train", state.level if state.HasField("level") else None, state.stage)
    dataset, params = open_data(_data_layer(net), folder)
    # Caffe's layer reads its first image to know the shapes; that of no parameter depends on which.
    net.reshape(**{name: blob.shape for name, blob in dataset.blobs(0).items()})
    # As the release's layers: other splits than for training are never shuffled.
    shuffle = params.get("randomize", True) and "train" in params["split"]
    seed = params.get("seed")
    seed = SEED if seed is None else seed
    return param, net, Feed(dataset, shuffle=shuffle, seed=seed, shard=distributed.shard())


def open_test(param, path):
    """The Dataset of the first test net that a solver, read from `path`, names; None where it names none."""
    if param.test_net:
        net = read_prototxt(find(param.test_net[0], Path(path).parent, str(path)))
    elif param.test_net_param:
        net = param.test_net_param[0]
    elif param.HasField("net") or param.HasField("net_param"):
        net = _train_net(param, path)
    else:
        return None
    return open_data(_data_layer(CaffeNet(net, "test")), Path(path).parent)[0]


def open_data(layer, folder):
    """(Dataset, params) of one of the release's data layers, a LayerParameter; `params` is its param_str as a dict."""
    python, where = layer.python_param, f"layer '{layer.name}'"
    reader = DATA_LAYERS.get((python.module, python.layer))
    if reader is None:
        known = ", ".join(".".join(name) for name in DATA_LAYERS)
        raise CaffeError(f"{where}: no data layer {python.module}.{python.layer} is known here; there are {known}")
    params = settings_of(python.param_str)
    if params is None:
        raise CaffeError(f"{where}: its param_str is not a literal dict, and nothing else is evaluated: "
                         f"{python.param_str[:80]!r}")
    try:
        return reader(params, list(layer.top), lambda path: find(path, folder, where)), params
    except KeyError as error:
        raise CaffeError(f"{where}: its param_str lacks {error}") from None


def find(path, folder, where):
    """A file or folder that the release names: from the working directory, else from `folder`."""
    for place in Path(path), Path(folder) / path:
        if place.exists():
            return place
    raise CaffeError(f"{where}: {path} is neither in the working directory nor seen from {folder}")


def _train_net(param, path):
    """The NetParameter to train; a solver names it in one of four ways (solver.cpp, InitTrainNet)."""
    given = [field for field in ("net", "net_param", "train_net", "train_net_param") if param.HasField(field)]
    if len(given) != 1:
        raise CaffeError(f"{path}: a solver names one training net, in train_net or net; this one has {given or 'none'}")
    net = getattr(param, given[0])
    return read_prototxt(find(net, Path(path).parent, str(path))) if isinstance(net, str) else net


def _data_layer(net):
    layers = [layer for layer in net.param.layer if not layer.bottom and layer.top]
    if len(layers) != 1 or layers[0].type != "Python":
        found = ", ".join(f"'{layer.name}' ({layer.type})" for layer in layers) or "none"
        raise CaffeError(f"net '{net.param.name}': one Python data layer of the release is expected, but there is {found}")
    return layers[0]


def _image_and_label(tops, params):
    """Options of a Dataset with one image and its labels."""
    if len(tops) != 2:
        raise CaffeError(f"this data layer has two tops, image and label, not {', '.join(tops)}")
    mean = {"mean": tuple(params["mean"])} if "mean" in params else {}
    return {"image_blob": tops[0], "labels_blob": tops[1], **mean}


def _voc(params, tops, find):
    return open_voc(find(params["voc_dir"]), params["split"], **_image_and_label(tops, params))


def _sbd(params, tops, find):
    return open_sbd(find(params["sbdd_dir"]), params["split"], **_image_and_label(tops, params))


def _nyud(params, tops, find):
    kinds = params["tops"]
    if len(kinds) != len(tops):
        raise CaffeError(f"a data layer of {len(tops)} tops, but its param_str has {len(kinds)}: {kinds}")
    return open_nyud(find(params["nyud_dir"]), params["split"], dict(zip(tops, kinds, strict=True)))


def _siftflow(params, tops, find):
    if tops != ["data", "sem", "geo"]:
        raise CaffeError(f"the tops of SIFT Flow's data layer are data, sem, geo, not {', '.join(tops)}")
    return open_siftflow(find(params["siftflow_dir"]), params["split"])


def _pascalcontext(params, tops, find):
    voc = find(f"{params['voc_dir']}/VOC2010")
    return open_pascalcontext(voc, find(params["context_dir"]), params["split"], **_image_and_label(tops, params))


DATA_LAYERS = {
    ("voc_layers", "VOCSegDataLayer"): _voc,
    ("voc_layers", "SBDDSegDataLayer"): _sbd,
    ("nyud_layers", "NYUDSegDataLayer"): _nyud,
    ("siftflow_layers", "SIFTFlowSegDataLayer"): _siftflow,
    ("pascalcontext_layers", "PASCALContextSegDataLayer"): _pascalcontext,
}
