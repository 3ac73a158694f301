"""Older nets and solvers in today's format, as upgrade_proto.cpp upgrades them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from converters.caffe_pb2 import LayerParameter, NetParameter, SolverParameter, V1LayerParameter
from converters.formats.wire import Malformed

# Where CamelCase does not say it (UpgradeV1LayerType).
_IRREGULAR = {
    "NONE": "", "ABSVAL": "AbsVal", "ARGMAX": "ArgMax", "BNLL": "BNLL", "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN", "MVN": "MVN", "RELU": "ReLU", "SOFTMAX_LOSS": "SoftmaxWithLoss", "TANH": "TanH",
}
# Types that forks added to the V1 enum; the older FCN and HED files have CROP, which is 40 in weights.
_FORKS = {"40": "Crop", "PRELU": "PReLU", "BN": "BN"}

V0_TYPES = {
    "accuracy": "ACCURACY", "bnll": "BNLL", "concat": "CONCAT", "conv": "CONVOLUTION", "data": "DATA", "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS", "flatten": "FLATTEN", "hdf5_data": "HDF5_DATA", "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL", "images": "IMAGE_DATA", "infogain_loss": "INFOGAIN_LOSS", "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN", "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS", "pool": "POOLING", "relu": "RELU",
    "sigmoid": "SIGMOID", "softmax": "SOFTMAX", "softmax_loss": "SOFTMAX_LOSS", "split": "SPLIT", "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

# Where each field of a V0 layer went: {field: {V0 type: "param.field"}} (UpgradeV0LayerParameter); "*" for every type.
_WEIGHTED = {"conv": "convolution_param", "innerproduct": "inner_product_param"}
_READERS = {
    "data": "data_param", "hdf5_data": "hdf5_data_param", "images": "image_data_param", "window_data": "window_data_param",
}


def _moves(params: Mapping[str, str], name: str) -> dict[str, str]:
    return {kind: f"{param}.{name}" for kind, param in params.items()}


_WINDOWED = {"conv": "convolution_param", "pool": "pooling_param"}
V0_FIELDS = {
    "num_output": _moves(_WEIGHTED, "num_output"),
    "biasterm": _moves(_WEIGHTED, "bias_term"),
    "weight_filler": _moves(_WEIGHTED, "weight_filler"),
    "bias_filler": _moves(_WEIGHTED, "bias_filler"),
    "pad": _moves(_WINDOWED, "pad"),
    "kernelsize": _moves(_WINDOWED, "kernel_size"),
    "stride": _moves(_WINDOWED, "stride"),
    "group": {"conv": "convolution_param.group"},
    "pool": {"pool": "pooling_param.pool"},
    "dropout_ratio": {"dropout": "dropout_param.dropout_ratio"},
    **{name: {"lrn": f"lrn_param.{name}"} for name in ("local_size", "alpha", "beta", "k")},
    "source": {**_moves(_READERS, "source"), "infogain_loss": "infogain_loss_param.source"},
    "batchsize": _moves(_READERS, "batch_size"),
    "scale": {"*": "transform_param.scale"},
    "meanfile": {"*": "transform_param.mean_file"},
    "cropsize": {"*": "transform_param.crop_size"},
    "mirror": {"*": "transform_param.mirror"},
    "rand_skip": {"data": "data_param.rand_skip", "images": "image_data_param.rand_skip"},
    "shuffle_images": {"images": "image_data_param.shuffle"},
    "new_height": {"images": "image_data_param.new_height"},
    "new_width": {"images": "image_data_param.new_width"},
    "concat_dim": {"concat": "concat_param.concat_dim"},
    **{f"det_{name}": {"window_data": f"window_data_param.{name}"}
       for name in ("fg_threshold", "bg_threshold", "fg_fraction", "context_pad", "crop_mode")},
    "hdf5_output_param": {"hdf5_output": "hdf5_output_param"},
}

SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")  # in the order of the old enum


def generation(net: NetParameter) -> str:
    """ "V0" if any layer keeps its parameters in a `layer` of its own, "V1" if the layers are `layers`, otherwise "V2"."""
    if any(layer.HasField("layer") for layer in net.layers):
        return "V0"
    return "V1" if net.layers else "V2"


def upgrade_net(net: NetParameter, fork_types: Mapping[int | None, str] | None = None,
                unknown: list[str] | None = None) -> None:
    """Bring a NetParameter into today's format, in place (UpgradeNetAsNeeded).

    fork_types: {index in net.layers: name or number} of types not in Caffe's V1 enum; unknown: a list that gets a line for
    each of those and for each field that has no place in its layer's type.
    """
    unknown = [] if unknown is None else unknown
    if net.layers and net.layer:
        raise Malformed("the net has both 'layer' and 'layers', of which Caffe would drop the former; keep one kind")
    _fold_padding(net)
    for i, old in enumerate(net.layers):
        if old.HasField("layer"):
            _upgrade_v0_layer(old, unknown)
        _move_transformation(old)
        _upgrade_v1_layer(old, net.layer.add(), (fork_types or {}).get(i), unknown)
    net.ClearField("layers")
    _upgrade_input(net)
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            # Its statistics, once declared as parameters, are never learned; their names still share (UpgradeNetBatchNorm).
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0


def _fold_padding(net: NetParameter) -> None:
    """Give each V0 padding layer's pad to the convolution or pooling that follows it (UpgradeV0PaddingLayers)."""
    made_by: dict[str, V1LayerParameter | None] = {}
    kept = []
    for old in net.layers:
        for i, bottom in enumerate(old.bottom):
            source = made_by.get(bottom)
            if source is None:
                continue
            if old.layer.type not in ("conv", "pool") or len(old.bottom) != 1 or len(source.bottom) != 1:
                where = f"layer '{old.layer.name}'"
                raise Malformed("a padding layer must lie between one blob and one conv or pool layer", where)
            old.layer.pad = source.layer.pad
            old.bottom[i] = source.bottom[0]
        padding = old.HasField("layer") and old.layer.type == "padding"
        for top in old.top:
            made_by[top] = old if padding else None
        if not padding:
            kept.append(old)
    if len(kept) < len(net.layers):
        kept = [V1LayerParameter.FromString(old.SerializeToString()) for old in kept]
        net.ClearField("layers")
        net.layers.extend(kept)


def _upgrade_v0_layer(old: V1LayerParameter, unknown: list[str]) -> None:
    """Turn the V0 layer inside a V1 layer into the V1 layer's own fields (UpgradeV0LayerParameter)."""
    v0 = old.layer
    if v0.type and v0.type not in V0_TYPES:
        unknown.append(f"layer '{v0.name}': V0 type {v0.type}")
    elif v0.type:
        _put(old, "type", V1LayerParameter.LayerType.Value(V0_TYPES[v0.type]))
    for field, value in v0.ListFields():
        if field.name == "name":
            old.name = value
        elif field.name in ("blobs", "blobs_lr", "weight_decay"):
            getattr(old, field.name).MergeFrom(value)
        elif field.name != "type":
            places = V0_FIELDS.get(field.name, {})
            place = places.get(v0.type, places.get("*"))
            if place is None:
                unknown.append(f"layer '{v0.name}': {field.name}, which a V0 layer of type {v0.type} does not have")
            else:
                _put(old, place, value)
    old.ClearField("layer")


def _put(message: Message, place: str, value: Any) -> None:
    """Set the field at a dotted place; a repeated one gets the value as its first."""
    *params, name = place.split(".")
    for param in params:
        message = getattr(message, param)
    target = getattr(message, name)
    if hasattr(target, "append"):
        target.append(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _move_transformation(old: V1LayerParameter) -> None:
    """Move scale, mean_file, crop_size and mirror of a data layer to transform_param (UpgradeNetDataTransformation)."""
    for kind, param in (("DATA", "data_param"), ("IMAGE_DATA", "image_data_param"), ("WINDOW_DATA", "window_data_param")):
        if old.type == V1LayerParameter.LayerType.Value(kind) and old.HasField(param):
            source = getattr(old, param)
            for name in ("scale", "mean_file", "crop_size", "mirror"):
                if source.HasField(name):
                    setattr(old.transform_param, name, getattr(source, name))
                    source.ClearField(name)


def v2_type(v1_type: str) -> str:
    """The type name of a V1 enum name: INNER_PRODUCT is InnerProduct. A number that is no name becomes V1TypeNUMBER."""
    regular = f"V1Type{v1_type}" if v1_type.isdigit() else "".join(word.capitalize() for word in v1_type.split("_"))
    return {**_IRREGULAR, **_FORKS}.get(v1_type, regular)


def _upgrade_v1_layer(old: V1LayerParameter, new: LayerParameter, fork_type: str | None, unknown: list[str]) -> None:
    """Fill `new` from a V1 layer (UpgradeV1LayerParameter)."""
    if fork_type is not None:
        new.type = v2_type(fork_type)
        unknown.append(f"layer '{old.name}': V1 type {fork_type}, taken as {new.type}")
    elif old.HasField("type"):
        new.type = v2_type(V1LayerParameter.LayerType.Name(old.type))
    for field, value in old.ListFields():
        if field.name in ("param", "blob_share_mode", "blobs_lr", "weight_decay"):
            for i, item in enumerate(value):
                while len(new.param) <= i:
                    new.param.add()
                setattr(new.param[i], V1_PARAM[field.name], item)
        elif field.name not in ("type", "layer"):
            if hasattr(value, "MergeFrom"):
                getattr(new, field.name).MergeFrom(value)
            else:
                setattr(new, field.name, value)


V1_PARAM = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}


def _upgrade_input(net: NetParameter) -> None:
    """Make `input` with `input_shape` or `input_dim` an Input layer at the front (UpgradeNetInput)."""
    if net.input and (net.input_shape or net.input_dim):
        given = len(net.input_shape) if net.input_shape else len(net.input_dim) / 4
        if given != len(net.input):
            raise Malformed(f"{len(net.input)} inputs need as many input_shape, or four input_dim each")
        first = LayerParameter(name="input", type="Input", top=net.input)
        for i in range(len(net.input)):
            dims = net.input_shape[i].dim if net.input_shape else net.input_dim[4 * i : 4 * i + 4]
            first.input_param.shape.add(dim=dims)
        net.layer.insert(0, first)
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)


def upgrade_solver(solver: SolverParameter) -> None:
    """Bring a SolverParameter into today's format, in place (UpgradeSolverType), with the nets that lie in it."""
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise Malformed("the solver gives both the old solver_type and type; keep type")
        solver.type = SOLVER_TYPES[solver.solver_type]
        solver.ClearField("solver_type")
    for name in ("net_param", "train_net_param"):
        if solver.HasField(name):
            upgrade_net(getattr(solver, name))
    for net in solver.test_net_param:
        upgrade_net(net)
