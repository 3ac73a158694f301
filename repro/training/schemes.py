"""The papers' ways of training, each a change of a net's description and of its solver, in Caffe's own terms.

    param, solver = reference.net("voc-fcn8s", "train"), reference.solver("voc-fcn8s")
    schemes.apply(["accumulated", "fixed-trunk"], "voc-fcn8s", param, solver)

Staged and at-once training are other nets; sampling is the Feed's and, by more passes an iteration, the solver's.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

import reference
from converters import CaffeError
from converters.caffe_pb2 import LossParameter, ParamSpec
from converters.errors import instead
from converters.formats.blob import write_blob
from converters.layers.loss import normalization_mode
from reference.netspec import FIXED
from reference.schemes import AVERAGED_RATES, BATCHES, SAMPLED, SCHEMES, STAGING
from reference.solvers import stages_of
from repro import distributed
from repro.data.images import VOID

INFOGAIN = "infogain-{label}.binaryproto"

ALTERNATIVES = (set(STAGING), set(BATCHES), {"fixed-interpolation", "learned-interpolation"})


def _check(names):
    for name in names:
        if name not in (*STAGING, *SCHEMES):
            raise CaffeError(f"no scheme '{name}'{instead(name, (*STAGING, *SCHEMES))}")
    for group in ALTERNATIVES:
        both = [name for name in names if name in group]
        if len(both) > 1:
            raise CaffeError(f"schemes {' and '.join(both)} exclude each other: choose one")


def stages(names, net):
    """The nets to train one from the other, the last being what `net` is by these schemes."""
    _check(names)
    if "at-once" in names:
        atonce = net if net.endswith("-atonce") else f"{net}-atonce"
        if atonce not in reference.names():
            raise CaffeError(f"{net} is not trained at once: only voc-fcn8s is")
        return [atonce]
    return stages_of(net) if "staged" in names else [net]


def net_and_solver(names, net, dataset, folder, num_classes, width=1, base_lr=None):
    """(NetParameter, SolverParameter) of a published net that is trained by these schemes on a Dataset.

    folder: takes the files that they need. num_classes and width as in `reference.net`, base_lr as in `apply`.
    """
    param, solver = reference.net(net, "train", num_classes=num_classes, width=width), reference.solver(net)
    apply(names, net, param, solver, base_lr)
    if "balanced" in names:
        balance(param, dataset, folder)
    return param, solver


def sampling(names):
    """The share of the coarsest scores' cells whose labels the Feed keeps."""
    return SAMPLED if "sampled" in names else 1.0


def apply(names, net, param, solver, base_lr=None):
    """Change a NetParameter and a SolverParameter, those of the published `net`, to what these schemes make of them.

    base_lr: the learning rate, whatever the schemes have. CaffeError for schemes that exclude each other or that the net
    cannot be trained by, or without a published rate where none is given.
    """
    _check(names)
    for name in names:
        if name in BATCHES:
            _batches(BATCHES[name], net, param, solver, base_lr)
        elif name in CHANGES:
            CHANGES[name](param)
    if "sampled" in names:
        solver.iter_size = round(solver.iter_size / SAMPLED)
    solver.base_lr = base_lr or solver.base_lr


def _batches(batches, net, param, solver, base_lr):
    """Momentum, passes of an iteration and normalization of the loss, and the rate that goes with them."""
    was_averaged = all(_mode(loss) == LossParameter.VALID for loss in _losses(param))
    for loss in _losses(param):
        loss.loss_param.ClearField("normalization")
        loss.loss_param.normalize = batches.averaged
    if batches.averaged != was_averaged and not base_lr:
        first = stages_of(net)[0]
        if not batches.averaged:
            raise CaffeError(f"there is no published rate for {net} with a summed loss: give --base-lr")
        # The finer nets learn at the same fraction of the coarsest one's rate as published.
        trunk = reference.schedule(first).starts_from[0]
        solver.base_lr = AVERAGED_RATES[trunk] * solver.base_lr / reference.solver(first).base_lr
    solver.momentum, solver.iter_size = batches.momentum, batches.iter_size


def _fix_trunk(param):
    """The score layers alone learn (CVPR 2015, table 2: FCN-32s-fixed)."""
    for layer in param.layer:
        if layer.type == "Convolution" and not layer.name.startswith("score"):
            _set_param(layer, FIXED)


def _fix_interpolation(param):
    """All upsampling stays bilinear, as the release has it."""
    for layer in _upsampling(param):
        _set_param(layer, [{"lr_mult": 0}])


def _learn_interpolation(param):
    """Upsampling starts bilinear and is learned, but for the last, which stays so (CVPR 2015, section 4.3)."""
    added = {bottom for layer in param.layer if layer.type == "Eltwise" for bottom in layer.bottom}
    learned = [layer for layer in _upsampling(param) if layer.top[0] in added]
    if not learned:
        raise CaffeError(f"net '{param.name}' upsamples once, and its last upsampling is always fixed: nothing is learned")
    for layer in learned:
        _set_param(layer, [{"lr_mult": 1}])


CHANGES = {"fixed-trunk": _fix_trunk, "fixed-interpolation": _fix_interpolation,
           "learned-interpolation": _learn_interpolation}
# The other schemes are seen to by `stages`, the Feed and `balance`.


def balance(param, dataset, folder):
    """Weigh the pixels of rare classes more: Caffe's InfogainLoss in place of SoftmaxWithLoss, its matrix in `folder`.

    A class weighs the inverse of its share of the pixels of `dataset`, scaled so that the pixels' mean weight is 1.
    """
    for loss in _losses(param):
        label, mode = loss.bottom[1], _mode(loss)
        path = Path(folder) / INFOGAIN.format(label=label)
        if distributed.rank() == 0 and not path.exists():
            write_blob(path, np.diag(class_weights(dataset, label)).astype(np.float32)[None, None])
        distributed.broadcast_object(None)  # the others wait until it is written
        loss.type = "InfogainLoss"
        loss.infogain_loss_param.source = str(path)
        loss.loss_param.ClearField("normalize")
        loss.loss_param.normalization = mode


def class_weights(dataset, label):
    """The weight of each class, by the labels in the blob `label` of a Dataset; 0 for a class that never occurs."""
    counts = np.zeros(VOID + 1, np.int64)
    for index in tqdm(range(len(dataset)), desc="counting labels", unit="image", disable=None):
        counts += np.bincount(dataset.blobs(index)[label].byte().numpy().ravel(), minlength=VOID + 1)
    counts = np.trim_zeros(counts[:VOID], "b")
    present = counts > 0
    return np.divide(counts.sum() / present.sum(), counts, out=np.zeros(len(counts)), where=present)


def _losses(param):
    return [layer for layer in param.layer if layer.type == "SoftmaxWithLoss"]


def _mode(loss):
    return normalization_mode(loss.loss_param)


def _upsampling(param):
    return [layer for layer in param.layer if layer.type == "Deconvolution"]


def _set_param(layer, specs):
    del layer.param[:]
    layer.param.extend(ParamSpec(**spec) for spec in specs)
