"""Writing a net down: each call adds a layer to a NetParameter and returns the name of its top blob."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from converters.caffe_pb2 import LayerParameter, NetParameter

Width = float | tuple[float, float]  # of the whole trunk, or of the convolutions and of fc6 and fc7
Specs = Sequence[Mapping[str, float]]  # a ParamSpec for the weights, and one for the biases

LEARNED: Specs = ({"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0})  # weights, biases
FIXED: Specs = ({"lr_mult": 0, "decay_mult": 0}, {"lr_mult": 0, "decay_mult": 0})


class Net:
    """A net under construction.

    name: of the NetParameter. width: what the trunk's channel counts are multiplied by; of a pair, the convolutions' and
    those of fc6 and fc7. suffix: ends the name of every layer and blob made while it is set (two-stream nets). trunk_param:
    the ParamSpecs of the trunk's layers.
    """

    def __init__(self, name: str, width: Width = 1, trunk_param: Specs = LEARNED) -> None:
        self.proto = NetParameter(name=name)
        self.width, self.fc_width = width if isinstance(width, tuple) else (width, width)
        self.trunk_param, self.suffix = trunk_param, ""

    def layer(self, type: str, name: str, bottoms: str | Sequence[str] = (), tops: Iterable[str] | None = None,
              **fields: Any) -> str:
        """Any layer; `tops` is by default one of the layer's own name. `fields` are LayerParameter's."""
        name += self.suffix
        tops = [name] if tops is None else list(tops)
        bottoms = [bottoms] if isinstance(bottoms, str) else list(bottoms)
        self.proto.layer.append(LayerParameter(name=name, type=type, bottom=bottoms, top=tops, **fields))
        return tops[0]

    def channels(self, count: int, width: float | None = None) -> int:
        """`count` channels of a trunk at this net's width, or at `width`; at least 1."""
        return max(1, round(count * (width or self.width)))

    def input(self, name: str, blobs: Mapping[str, Sequence[int]]) -> str:
        """An Input layer; `blobs` is {blob: shape}."""
        shapes = [{"dim": shape} for shape in blobs.values()]
        return self.layer("Input", name, tops=blobs, input_param={"shape": shapes})

    def conv(self, name: str, bottom: str, channels: int, kernel: int, pad: int = 0, stride: int = 1,
             width: float | None = None, **more: Any) -> str:
        """A trunk's convolution."""
        conv = dict(num_output=self.channels(channels, width), kernel_size=[kernel], pad=[pad], stride=[stride], **more)
        return self.layer("Convolution", name, bottom, param=self.trunk_param, convolution_param=conv)

    def relu(self, name: str, blob: str) -> str:
        return self.layer("ReLU", name, blob, [blob])

    def dropout(self, name: str, blob: str, ratio: float = 0.5) -> str:
        return self.layer("Dropout", name, blob, [blob], dropout_param={"dropout_ratio": ratio})

    def pool(self, name: str, bottom: str, kernel: int, stride: int, method: str = "MAX", **more: Any) -> str:
        pooling = dict(pool=method, kernel_size=kernel, stride=stride, **more)
        return self.layer("Pooling", name, bottom, pooling_param=pooling)

    def lrn(self, name: str, bottom: str) -> str:
        return self.layer("LRN", name, bottom, lrn_param={"local_size": 5, "alpha": 1e-4, "beta": 0.75})

    def score(self, name: str, bottom: str, num_classes: int) -> str:
        """A 1x1 convolution to class scores. It has no filler: it starts at zero."""
        conv = {"num_output": num_classes, "kernel_size": [1], "pad": [0]}
        return self.layer("Convolution", name, bottom, param=LEARNED, convolution_param=conv)

    def upsample(self, name: str, bottom: str, num_classes: int, kernel: int, stride: int) -> str:
        """A fixed deconvolution, bilinear once `surgery.interp` has filled it."""
        conv = {"num_output": num_classes, "kernel_size": [kernel], "stride": [stride], "bias_term": False}
        return self.layer("Deconvolution", name, bottom, param=[{"lr_mult": 0}], convolution_param=conv)

    def crop(self, name: str, bottom: str, like: str) -> str:
        """`bottom` cut to the size of `like`, over which it then lies."""
        from surgery.coordinates import crop_offset  # late, since it needs torch

        offset = crop_offset(self.proto, bottom, like)
        offsets = [offset] if isinstance(offset, int) else list(offset)
        return self.layer("Crop", name, [bottom, like], crop_param={"axis": 2, "offset": offsets})

    def scale(self, name: str, bottom: str, value: float) -> str:
        """`bottom` times one fixed number for each channel."""
        filler = {"type": "constant", "value": value}
        return self.layer("Scale", name, bottom, param=[{"lr_mult": 0}], scale_param={"filler": filler})

    def add(self, name: str, bottoms: Sequence[str], coeff: Sequence[float] = ()) -> str:
        return self.layer("Eltwise", name, bottoms, eltwise_param={"operation": "SUM", "coeff": coeff})

    def inner_product(self, name: str, bottom: str, num_output: int, **more: Any) -> str:
        inner_product = dict(num_output=num_output, **more)
        return self.layer("InnerProduct", name, bottom, param=self.trunk_param, inner_product_param=inner_product)

    def segmentation_loss(self, name: str, score: str, label: str, normalize: bool) -> str:
        """Softmax over the pixels, void (255) left out; summed, or averaged over the pixels that count."""
        loss = {"ignore_label": 255, "normalize": normalize}
        return self.layer("SoftmaxWithLoss", name, [score, label], loss_param=loss)
