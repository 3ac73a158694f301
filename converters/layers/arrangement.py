"""Layers that move numbers without changing them."""

import math

import torch
from torch import Tensor

from converters.caffe_pb2 import LayerParameter
from converters.formats.blob import dims_text
from converters.layers.base import Layer, canonical_axis, check_indices, layer
from converters.layers.pixels import SAME, Pixels, along_axis, windows
from converters.layers.sources import LayerSource


@layer("Concat")
class Concat(Layer):
    """The bottoms one after the other along `axis` (concat_layer.cpp)."""

    pixels: Pixels | None = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        concat = param.concat_param
        if concat.HasField("axis") and concat.HasField("concat_dim"):
            raise self.error("give axis or concat_dim, not both")
        self.axis = concat.concat_dim if concat.HasField("concat_dim") else concat.axis
        self.pixels = along_axis(self.axis)
        self.shares = len(param.bottom) == 1

    def forward(self, *bottoms: Tensor) -> Tensor:
        axis = canonical_axis(self.axis, bottoms[0].ndim, self)
        for bottom in bottoms[1:]:
            if bottom.ndim != bottoms[0].ndim or any(
                    bottom.shape[i] != bottoms[0].shape[i] for i in range(bottom.ndim) if i != axis):
                raise self.error(f"shapes {dims_text(bottoms[0].shape)} and {dims_text(bottom.shape)} "
                                 f"differ beside axis {axis}")
        return torch.cat(bottoms, axis)

    def source(self, step: LayerSource) -> str:
        return f"torch.cat([{', '.join(step.bottoms)}], {self.axis % len(step.shapes[0])})"


@layer("Slice")
class Slice(Layer):
    """Cuts the bottom along `axis` at each slice_point, or into equal parts, one for each top (slice_layer.cpp)."""

    pixels: Pixels | None = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        slices = param.slice_param
        if slices.HasField("axis") and slices.HasField("slice_dim"):
            raise self.error("give axis or slice_dim, not both")
        self.axis = slices.slice_dim if slices.HasField("slice_dim") else slices.axis
        self.pixels = along_axis(self.axis)
        self.points, self.tops = list(slices.slice_point), len(param.top)
        self.shares = self.tops == 1
        if self.points and len(self.points) != self.tops - 1:
            raise self.error(f"{len(self.points)} slice_points for {self.tops} tops: there must be one less than tops")

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        axis = canonical_axis(self.axis, bottom.ndim, self)
        size = bottom.shape[axis]
        if not self.points and size % self.tops:
            raise self.error(f"axis {axis} of {size} does not divide into {self.tops} tops; give slice_points")
        points = self.points or [size // self.tops * i for i in range(1, self.tops)]
        ends = [0, *points, size]
        # Caffe lets the last slice be empty.
        if self.tops > size or any(end <= start for start, end in zip(ends, points, strict=False)) or ends[-2] > size:
            raise self.error(f"slice_points {points} must rise and lie inside axis {axis} of {size}")
        tops = tuple(bottom.narrow(axis, start, end - start) for start, end in zip(ends, ends[1:], strict=False))
        return tops if self.tops > 1 else bottom

    def source(self, step: LayerSource) -> list[str]:
        axis = self.axis % len(step.shapes[0])
        sizes = [shape[axis] for shape in step.top_shapes]
        return [f"{step.bottom}.narrow({axis}, {sum(sizes[:i])}, {size})" for i, size in enumerate(sizes)]


@layer("Crop")
class Crop(Layer):
    """The part of the first bottom that begins at `offset` and has the second's size from `axis` on (crop_layer.cpp)."""

    mapped_bottoms = 1  # the second only lends its size

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.axis, self.offset = param.crop_param.axis, list(param.crop_param.offset)

    def forward(self, bottom: Tensor, reference: Tensor) -> Tensor:
        axis = canonical_axis(self.axis, bottom.ndim, self)
        if reference.ndim != bottom.ndim:
            raise self.error(f"needs a second bottom with as many axes as the first: {dims_text(bottom.shape)} and "
                             f"{dims_text(reference.shape)}")
        cropped = range(axis, bottom.ndim)
        if len(self.offset) not in (0, 1, len(cropped)):
            raise self.error(f"{len(self.offset)} offsets for {len(cropped)} cropped axes: give none, one, or one for each")
        offsets = (self.offset or [0]) * len(cropped) if len(self.offset) < 2 else self.offset
        for i, offset in zip(cropped, offsets, strict=True):
            if offset + reference.shape[i] > bottom.shape[i]:
                raise self.error(f"axis {i} of {bottom.shape[i]} cannot be cropped at {offset} to {reference.shape[i]}")
            bottom = bottom.narrow(i, offset, reference.shape[i])
        return bottom

    @property
    def pixels(self) -> Pixels:
        offset = (self.offset or [0]) * 2 if len(self.offset) < 2 else self.offset[-2:]
        return windows((1, 1), (1, 1), [-before for before in offset], axis=self.axis % 4)

    def source(self, step: LayerSource) -> str:
        bottom, like = step.bottoms
        ndim = len(step.shapes[0])
        axis = self.axis % ndim
        places = [":"] * axis
        offsets = (self.offset or [0]) * (ndim - axis) if len(self.offset) < 2 else self.offset
        for i, offset in enumerate(offsets, start=axis):
            places.append(f"{offset} : {offset} + {like}.shape[{i}]" if offset else f": {like}.shape[{i}]")
        return f"{bottom}[{', '.join(places)}]"


@layer("Split")
class Split(Layer):
    """Every top is the bottom (split_layer.cpp)."""

    pixels = SAME
    shares = True
    apart = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.tops = len(param.top)

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        return (bottom,) * self.tops if self.tops > 1 else bottom

    def source(self, step: LayerSource) -> list[str]:
        return [step.bottom] * self.tops


@layer("Silence")
class Silence(Layer):
    """Takes bottoms so that they are no outputs of the net (silence_layer.cpp)."""

    scores = True

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        return ()


@layer("Flatten")
class Flatten(Layer):
    """The axes from `axis` to `end_axis`, both counted in, as one (flatten_layer.cpp)."""

    shares = True
    apart = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.axis, self.end_axis = param.flatten_param.axis, param.flatten_param.end_axis

    def forward(self, bottom: Tensor) -> Tensor:
        start = canonical_axis(self.axis, bottom.ndim, self)
        end = canonical_axis(self.end_axis, bottom.ndim, self)
        if end < start - 1:
            raise self.error(f"end_axis {end} lies before axis {start}")
        shape = bottom.shape
        return bottom.reshape(*shape[:start], math.prod(shape[start:end + 1]), *shape[end + 1:])

    def source(self, step: LayerSource) -> str:
        ndim = len(step.shapes[0])
        axis, end = self.axis % ndim, self.end_axis % ndim
        if end < axis:  # a new axis, of one
            return f"{step.bottom}.unsqueeze({axis})"
        return f"{step.bottom}.flatten({axis}{f', {end}' if end != ndim - 1 else ''})"


@layer("Reshape")
class Reshape(Layer):
    """The same numbers in another shape (reshape_layer.cpp).

    Of `shape`, which replaces num_axes axes from `axis` on, 0 copies the bottom's axis and one -1 is inferred.
    """

    shares = True
    apart = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        reshape = param.reshape_param
        self.dims, self.axis, self.num_axes = list(reshape.shape.dim), reshape.axis, reshape.num_axes
        if self.dims.count(-1) > 1 or min(self.dims, default=0) < -1 or self.num_axes < -1:
            raise self.error(f"shape {self.dims}, num_axes {self.num_axes}: one dim at most may be -1, none less")

    def forward(self, bottom: Tensor) -> Tensor:
        shape, ndim = bottom.shape, bottom.ndim
        start = self.axis if self.axis >= 0 else ndim + 1 + self.axis
        end = ndim if self.num_axes == -1 else start + self.num_axes
        if not 0 <= start <= end <= ndim:
            raise self.error(f"axis {self.axis}, num_axes {self.num_axes} are out of range for a bottom of {ndim} axes")
        if any(dim == 0 and start + i >= ndim for i, dim in enumerate(self.dims)):
            raise self.error(f"shape {self.dims} copies an axis that the bottom of shape {dims_text(shape)} does not have")
        dims = [shape[start + i] if dim == 0 else dim for i, dim in enumerate(self.dims)]
        dims = [*shape[:start], *dims, *shape[end:]]
        known = math.prod(dim for dim in dims if dim != -1)
        if bottom.numel() % known if -1 in dims else bottom.numel() != known:
            raise self.error(f"a bottom of shape {dims_text(shape)} does not fit into {dims_text(dims)}")
        return bottom.reshape(dims)

    def source(self, step: LayerSource) -> str:
        x, ndim = step.bottom, len(step.shapes[0])
        start = self.axis if self.axis >= 0 else ndim + 1 + self.axis
        end = ndim if self.num_axes == -1 else start + self.num_axes
        dims = [str(dim) if dim else f"{x}.shape[{start + i}]" for i, dim in enumerate(self.dims)]
        kept = [f"{x}.shape[{i}]" for i in range(start)], [f"{x}.shape[{i}]" for i in range(end, ndim)]
        return f"{x}.reshape({', '.join([*kept[0], *dims, *kept[1]])})"


@layer("Tile")
class Tile(Layer):
    """The bottom `tiles` times along `axis` (tile_layer.cpp)."""

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.axis, self.tiles = param.tile_param.axis, param.tile_param.tiles
        if self.tiles < 1:
            raise self.error("tiles must be given and positive")

    def forward(self, bottom: Tensor) -> Tensor:
        axis = canonical_axis(self.axis, bottom.ndim, self)
        times = [self.tiles if i == axis else 1 for i in range(bottom.ndim)]
        self.check_count([size * count for size, count in zip(bottom.shape, times, strict=True)])
        return bottom.repeat(times)


@layer("BatchReindex")
class BatchReindex(Layer):
    """The items of the first bottom in the order that the second, of shape (M,), says (batch_reindex_layer.cpp)."""

    def forward(self, bottom: Tensor, order: Tensor) -> Tensor:
        if order.ndim != 1:
            raise self.error(f"the second bottom must have one axis, not shape {dims_text(order.shape)}")
        return bottom.index_select(0, check_indices(order, bottom.shape[0], self))


@layer("Filter")
class Filter(Layer):
    """The items of every other bottom where the last one, the selector of shape (N, 1, ...), is not zero
    (filter_layer.cpp).

    How many there are depends on the data: until they are known, shapes are those of the bottoms, as in Caffe.
    """

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        *items, selector = bottoms
        one_each = selector.shape[:1].numel() == selector.numel()
        if not items or not one_each or any(bottom.shape[:1] != selector.shape[:1] for bottom in items):
            raise self.error(f"a selector of shape {dims_text(selector.shape)} for bottoms of shape "
                             f"{', '.join(dims_text(bottom.shape) for bottom in items)}: it needs one number for each item")
        if not selector.is_meta:
            chosen = selector.flatten().nonzero().squeeze(1)
            items = [bottom.index_select(0, chosen) for bottom in items]
        return tuple(items) if len(items) > 1 else items[0]
