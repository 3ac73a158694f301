"""Each layer type as a line of PyTorch: what `converters.pytorch.module_source` puts together."""

import numpy as np

from converters.caffe_pb2 import EltwiseParameter, LRNParameter, PoolingParameter

SOURCES: dict = {}

BLOBS = '''
class Blobs(nn.Module):
    """The parameter blobs of one Caffe layer that PyTorch has no module for."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
'''
BATCH_NORM = '''
def batch_norm(x, blobs, eps):
    """Caffe's BatchNorm: its mean and variance are sums, still to be divided by the third blob."""
    factor = torch.where(blobs.scale_factor == 0, 0, 1 / blobs.scale_factor)
    return F.batch_norm(x, blobs.running_mean * factor, blobs.running_var * factor, eps=eps)
'''


def source(*types):
    """Register the function that writes layers of these types.

    It takes the layer and its parameters as a `module_source.Step` and returns the expression that makes the top,
    or one for each top; it adds what `__init__` needs with `step.module` and calls `step.refuse` for what it cannot write.
    """

    def add(function):
        for name in types:
            SOURCES[name] = function
        return function

    return add


def number(value):
    """A float32 of a description as it was typed: 0.0001, not 9.999999747378752e-05."""
    value = float(str(np.float32(value)))
    return repr(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def pair(values):
    """(3, 3) as 3, (3, 5) as it is."""
    values = tuple(values)
    return repr(values[0]) if len(set(values)) == 1 else repr(values)


def keywords(**settings):
    """", name=value" for every setting that is not PyTorch's default, which is given with it."""
    return "".join(f", {name}={value}" for name, (value, default) in settings.items() if value != default)


@source("Convolution", "Deconvolution")
def convolution(step):
    layer, shape = step.layer, step.shapes[0]
    if len(shape) != 4 or layer.axis != 1:
        step.refuse("only convolutions over two spatial axes are")
    kernel, stride, pad, dilation = map(pair, layer.along(2))
    step.module(
        f"nn.{'Conv2d' if layer.type == 'Convolution' else 'ConvTranspose2d'}({shape[1]}, {layer.num_output}, {kernel}"
        + keywords(stride=(stride, "1"), padding=(pad, "0"), dilation=(dilation, "1"), groups=(layer.group, 1),
                   bias=("bias" in layer.blob_names, True)) + ")")
    return [f"{step.own}({x})" for x in step.x]


@source("InnerProduct")
def inner_product(step):
    layer, ndim = step.layer, len(step.shapes[0])
    outputs, inputs = step.blob_shapes["weight"]
    axis = layer.axis % ndim
    x = step.x[0] if axis == ndim - 1 else f"{step.x[0]}.flatten({axis})"
    if layer.transpose:
        step.blobs()
        bias = f", {step.own}.bias" if "bias" in layer.blob_names else ""
        return f"F.linear({x}, {step.own}.weight.t(){bias})"
    step.module(f"nn.Linear({inputs}, {outputs}{keywords(bias=('bias' in layer.blob_names, True))})")
    return f"{step.own}({x})"


@source("Pooling")
def pooling(step):
    layer, x = step.layer, step.x[0]
    is_max = layer.method == PoolingParameter.MAX
    if len(step.tops) > 1 or layer.method == PoolingParameter.STOCHASTIC:
        step.refuse("only MAX and AVE with one top are")
    if layer.is_global:
        return f"{x}.{'amax' if is_max else 'mean'}((2, 3), keepdim=True)"
    for kernel, stride, pad in zip(layer.kernel, layer.stride, layer.pad, strict=True):
        if 2 * pad > kernel or (stride > kernel and not any(layer.pad)):
            step.refuse("PyTorch has no pooling with a pad above half the kernel, or a stride above the kernel without one")
    more = keywords(padding=(pair(layer.pad), "0"), ceil_mode=(not layer.floor, False))
    return f"F.{'max' if is_max else 'avg'}_pool2d({x}, {pair(layer.kernel)}, {pair(layer.stride)}{more})"


@source("LRN")
def lrn(step):
    param, x = step.param.lrn_param, step.x[0]
    alpha, beta, size = number(param.alpha), number(param.beta), param.local_size
    if param.norm_region == LRNParameter.WITHIN_CHANNEL:
        squares = f"F.avg_pool2d({x} * {x}, {size}, 1, {size // 2})"
        return f"{x} * (1 + {alpha} * {squares}) ** -{beta}"
    return f"F.local_response_norm({x}, {size}, alpha={alpha}, beta={beta}, k={number(param.k)})"


@source("ReLU")
def relu(step):
    slope = step.param.relu_param.negative_slope
    return f"F.leaky_relu({step.x[0]}, {number(slope)})" if slope else f"F.relu({step.x[0]})"


@source("PReLU")
def prelu(step):
    step.blobs()
    return f"F.prelu({step.x[0]}, {step.own}.weight)"


@source("Dropout")
def dropout(step):
    return f"F.dropout({step.x[0]}, {number(step.param.dropout_param.dropout_ratio)}, self.training)"


@source("Sigmoid", "TanH", "AbsVal")
def named_alike(step):
    return f"torch.{ {'Sigmoid': 'sigmoid', 'TanH': 'tanh', 'AbsVal': 'abs'}[step.layer.type]}({step.x[0]})"


@source("ELU", "BNLL", "Swish", "Threshold", "Clip", "Power")
def pointwise(step):
    param, x = step.param, step.x[0]
    if step.layer.type == "ELU":
        return f"F.elu({x}, {number(param.elu_param.alpha)})"
    if step.layer.type == "BNLL":
        return f"F.softplus({x}, threshold=50)"
    if step.layer.type == "Swish":
        return f"{x} * torch.sigmoid({number(param.swish_param.beta)} * {x})"
    if step.layer.type == "Threshold":
        return f"({x} > {number(param.threshold_param.threshold)}).to({x}.dtype)"
    if step.layer.type == "Clip":
        return f"{x}.clamp({number(param.clip_param.min)}, {number(param.clip_param.max)})"
    power = param.power_param
    inner = f"{number(power.shift)} + {number(power.scale)} * {x}"
    return f"({inner}) ** {number(power.power)}" if power.power != 1 else inner


@source("BatchNorm")
def batch_norm(step):
    if step.layer.global_stats is False:
        step.refuse("with use_global_stats: false it does not run on one image, and")
    step.blobs()
    return f"batch_norm({step.x[0]}, {step.own}, {number(step.param.batch_norm_param.eps)})"


@source("Scale", "Bias")
def scale(step):
    layer, ndim = step.layer, len(step.shapes[0])
    step.blobs()

    def along(operand, shape):
        trailing = ndim - layer.axis % ndim - len(shape) if len(shape) else 0
        return f"{operand}[{', '.join(['...', *['None'] * trailing])}]" if trailing else operand

    first = "weight" if layer.type == "Scale" else "bias"
    if len(step.x) > 1:
        top = f"{step.x[0]} {'*' if layer.type == 'Scale' else '+'} {along(step.x[1], step.shapes[1])}"
    else:
        top = f"{step.x[0]} {'*' if first == 'weight' else '+'} {along(f'{step.own}.{first}', step.blob_shapes[first])}"
    if layer.type == "Scale" and "bias" in step.blob_shapes:
        top += f" + {along(f'{step.own}.bias', step.blob_shapes['bias'])}"
    return top


@source("Eltwise")
def eltwise(step):
    layer = step.layer
    if layer.operation == EltwiseParameter.PROD:
        return " * ".join(step.x)
    if layer.operation == EltwiseParameter.MAX:
        top = step.x[0]
        for x in step.x[1:]:
            top = f"torch.maximum({top}, {x})"
        return top
    coeff = layer.coeff or [1] * len(step.x)
    return " + ".join(x if c == 1 else f"{number(c)} * {x}" for c, x in zip(coeff, step.x, strict=True))


@source("Concat")
def concat(step):
    return f"torch.cat([{', '.join(step.x)}], {step.layer.axis % len(step.shapes[0])})"


@source("Slice")
def slice_(step):
    axis = step.layer.axis % len(step.shapes[0])
    sizes = [shape[axis] for shape in step.top_shapes]
    return [f"{step.x[0]}.narrow({axis}, {sum(sizes[:i])}, {size})" for i, size in enumerate(sizes)]


@source("Split")
def split(step):
    return [step.x[0]] * len(step.tops)


@source("Crop")
def crop(step):
    x, like = step.x
    ndim, layer = len(step.shapes[0]), step.layer
    axis = layer.axis % ndim
    offsets = (layer.offset or [0]) * (ndim - axis) if len(layer.offset) < 2 else layer.offset
    places = [":"] * axis
    for i, offset in enumerate(offsets, start=axis):
        places.append(f"{offset} : {offset} + {like}.shape[{i}]" if offset else f": {like}.shape[{i}]")
    return f"{x}[{', '.join(places)}]"


@source("Flatten")
def flatten(step):
    param, ndim = step.param.flatten_param, len(step.shapes[0])
    axis, end = param.axis % ndim, param.end_axis % ndim
    return f"{step.x[0]}.flatten({axis}{f', {end}' if end != ndim - 1 else ''})"


@source("Reshape")
def reshape(step):
    layer, x, ndim = step.layer, step.x[0], len(step.shapes[0])
    start = layer.axis if layer.axis >= 0 else ndim + 1 + layer.axis
    end = ndim if layer.num_axes == -1 else start + layer.num_axes
    dims = [str(dim) if dim else f"{x}.shape[{start + i}]" for i, dim in enumerate(layer.dims)]
    kept = [f"{x}.shape[{i}]" for i in range(start)], [f"{x}.shape[{i}]" for i in range(end, ndim)]
    return f"{x}.reshape({', '.join([*kept[0], *dims, *kept[1]])})"


@source("Softmax")
def softmax(step):
    return f"{step.x[0]}.softmax({step.layer.axis % len(step.shapes[0])})"


@source("Parameter")
def parameter(step):
    step.blobs()
    return f"{step.own}.weight"
