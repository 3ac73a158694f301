"""Random settings for each layer type that the fuzzer of nets draws."""

# Of what is registered and not drawn.
NOT_DRAWN = {
    "labels, and a top that is a score": (
        "Accuracy", "ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss", "SoftmaxWithLoss"),
    "bottoms that are indices": ("BatchReindex", "Embed", "Filter"),
    "no bottom": ("Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "Parameter", "Python", "WindowData"),
    "no top": ("Silence",),
    "whole numbers, which a rounding moves": ("ArgMax",),
}


def choose(r, names):
    """One of the blobs, a late one more often."""
    return names[-1] if r.random() < 0.6 else r.choice(names)


def _bool(value):
    return "true" if value else "false"


def _conv(r, shape):
    if len(shape) != 4:
        return None
    channels = shape[1]
    group = r.choice([1, 1, 1, *[g for g in (2, 3, channels) if channels % g == 0]])
    if r.random() < 0.7:
        kernels = f"kernel_size: {r.randint(1, 4)}"
    else:
        kernels = f"kernel_h: {r.randint(1, 4)} kernel_w: {r.randint(1, 3)}"
    pads = r.choice([f"pad: {r.choice([0, 0, 1, 2, 5])}", f"pad_h: {r.randint(0, 2)} pad_w: {r.randint(0, 2)}"])
    strides = r.choice([f"stride: {r.choice([1, 1, 2, 3])}", f"stride_h: {r.randint(1, 3)} stride_w: {r.randint(1, 2)}"])
    return (f"convolution_param {{ num_output: {group * r.randint(1, 3)} {kernels} {pads} {strides} group: {group} "
            f"dilation: {r.choice([1, 1, 1, 2])} bias_term: {_bool(r.random() < 0.7)} }}")


def _deconv(r, shape):
    """A deconvolution whose padding leaves a top."""
    if len(shape) != 4:
        return None
    kernel, group = r.randint(1, 5), r.choice([1, shape[1]])
    return (f"convolution_param {{ num_output: {group * r.randint(1, 3)} kernel_size: {kernel} stride: {r.randint(1, 4)} "
            f"pad: {r.randint(0, (kernel - 1) // 2)} group: {group} "
            f"dilation: {r.choice([1, 1, 2])} bias_term: {_bool(r.random() < 0.5)} }}")


def _pool(r, shape):
    if len(shape) != 4:
        return None
    method = r.choice(["MAX", "AVE"])
    if r.random() < 0.15:
        return f"pooling_param {{ pool: {method} global_pooling: true }}"
    kernel = r.randint(1, 4)
    sides = f"kernel_size: {kernel}" if r.random() < 0.8 else f"kernel_h: {kernel} kernel_w: {r.randint(kernel, 4)}"
    mode = r.choice(["", "", "round_mode: FLOOR"])
    return f"pooling_param {{ pool: {method} {sides} stride: {r.randint(1, 3)} pad: {r.randint(0, kernel - 1)} {mode} }}"


def _axis(r, shape):
    axis = r.randrange(len(shape))
    return axis if r.random() < 0.6 else axis - len(shape)


def _scale(field):
    def settings(r, shape):
        axis = r.randrange(len(shape))
        bias = f" bias_term: {_bool(r.random() < 0.5)}" if field == "scale_param" else ""
        return f"{field} {{ axis: {axis} num_axes: {r.randint(0, len(shape) - axis)}{bias} }}"
    return settings


def _eltwise(r, shape):
    operation = r.choice(["SUM", "SUM", "PROD", "MAX"])
    if operation == "SUM" and r.random() < 0.5:
        operation += f" coeff: {r.choice([1, -1, 0.5])} coeff: {r.choice([1, 2])}"
    return f"eltwise_param {{ operation: {operation} }}"


def _slice(r, shape):
    axis = r.randrange(len(shape))
    return f"slice_param {{ axis: {axis} slice_point: {r.randint(1, shape[axis] - 1)} }}" if shape[axis] > 1 else None


def _reshape(r, shape):
    dims = r.choice([[0, -1], [0, 1, -1], [-1, shape[-1]], [0, 0, -1], [*shape, 1]])
    return f"reshape_param {{ shape {{ {' '.join(f'dim: {dim}' for dim in dims)} }} }}"


def _lrn(r, shape):
    region = r.choice(["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
    return (f"lrn_param {{ local_size: {r.choice([1, 3, 5])} alpha: {r.choice([1, 0.1])} beta: {r.choice([0.75, 0.5])} "
            f"norm_region: {region} }}" if len(shape) == 4 else None)


def _inner_product(r, shape):
    return (f"inner_product_param {{ num_output: {r.randint(1, 5)} axis: {r.randrange(len(shape))} "
            f"transpose: {_bool(r.random() < 0.3)} bias_term: {_bool(r.random() < 0.6)} }}")


SETTINGS = {
    "AbsVal": lambda r, shape: "",
    "BNLL": lambda r, shape: "",
    "BatchNorm": lambda r, shape: r.choice(["", "batch_norm_param { eps: 0.01 }",
                                                "batch_norm_param { use_global_stats: false }"]),
    "Bias": _scale("bias_param"),
    "Clip": lambda r, shape: f"clip_param {{ min: {r.choice([-1, -0.5])} max: {r.choice([0.5, 2])} }}",
    "Concat": lambda r, shape: f"concat_param {{ axis: {_axis(r, shape)} }}",
    "Convolution": _conv,
    "Crop": lambda r, shape: f"crop_param {{ axis: {r.choice([2, 2, 1, 3])} offset: {r.choice([0, 1, 2])} }}",
    "Deconvolution": _deconv,
    "Dropout": lambda r, shape: f"dropout_param {{ dropout_ratio: {r.choice([0.3, 0.5])} }}",
    "ELU": lambda r, shape: f"elu_param {{ alpha: {r.choice([1, 0.3])} }}",
    "Eltwise": _eltwise,
    "Exp": lambda r, shape: (f"exp_param {{ base: {r.choice([-1, 2])} scale: {r.choice([1, -0.5])} "
                             f"shift: {r.choice([0, 0.5])} }}"),
    "Flatten": lambda r, shape: f"flatten_param {{ axis: {r.randrange(len(shape))} end_axis: -1 }}",
    "Im2col": lambda r, shape: f"convolution_param {{ kernel_size: {r.randint(1, 3)} pad: {r.randint(0, 1)} }}",
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Log": lambda r, shape: (f"log_param {{ base: {r.choice([-1, 10])} scale: {r.choice([1, 0.5])} "
                             f"shift: {r.choice([1, 5])} }}"),
    "MVN": lambda r, shape: (f"mvn_param {{ normalize_variance: {_bool(r.random() < 0.7)} "
                             f"across_channels: {_bool(r.random() < 0.4)} }}" if len(shape) == 4 else None),
    "PReLU": lambda r, shape: f"prelu_param {{ channel_shared: {_bool(r.random() < 0.4)} }}",
    "Pooling": _pool,
    "Power": lambda r, shape: (f"power_param {{ power: {r.choice([1, 2, 3, 0.5])} scale: {r.choice([1, -0.5])} "
                               f"shift: {r.choice([0, 1, 4])} }}"),
    "ReLU": lambda r, shape: r.choice(["", "", "relu_param { negative_slope: 0.1 }"]),
    "Reduction": lambda r, shape: (f"reduction_param {{ axis: {r.randrange(len(shape))} "
                                   f"operation: {r.choice(['SUM', 'MEAN', 'ASUM', 'SUMSQ'])} coeff: {r.choice([1, 2])} }}"),
    "Reshape": _reshape,
    "SPP": lambda r, shape: f"spp_param {{ pyramid_height: {r.randint(1, 2)} }}" if len(shape) == 4 else None,
    "Scale": _scale("scale_param"),
    "Sigmoid": lambda r, shape: "",
    "Slice": _slice,
    "Softmax": lambda r, shape: f"softmax_param {{ axis: {_axis(r, shape)} }}",
    "Split": lambda r, shape: "",
    "Swish": lambda r, shape: f"swish_param {{ beta: {r.choice([1, 2])} }}",
    "TanH": lambda r, shape: "",
    "Threshold": lambda r, shape: f"threshold_param {{ threshold: {r.choice([0, 0.37])} }}",
    "Tile": lambda r, shape: f"tile_param {{ axis: {_axis(r, shape)} tiles: {r.randint(1, 3)} }}",
}
# A second bottom, as its shape fits the first's.
TWO_BOTTOMS = {
    "Concat": lambda shape, other: len(shape) == len(other),
    "Crop": lambda shape, other: len(shape) == len(other) == 4,
    "Eltwise": lambda shape, other: shape == other,
}
IN_PLACE = {"BNLL", "BatchNorm", "Bias", "Clip", "Dropout", "ELU", "Exp", "Log", "PReLU", "Power", "ReLU", "Scale",
            "Sigmoid", "Swish", "TanH"}
