"""How the pixels of one blob lie over the pixels of another.

Every spatial layer maps the coordinates of its bottom to those of its top by `top = scale * bottom + offset`; maps of
consecutive layers compose, and a map is inverted to go back. Two blobs are aligned by walking from both to a blob they
descend from. The rules are those of Caffe's coord_map.py: window centers are what is mapped, and the rounding of output
sizes plays no part. Arithmetic is exact, in fractions, for height and width each.
"""

from fractions import Fraction
from math import prod
from typing import NamedTuple

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError, instead
from converters.layers import REGISTRY, Layer
from converters.layers.pixels import Pixels, Window

HEIGHT = 2  # the axis of (N, C, H, W) that maps begin at


class NoMap(CaffeError):
    """A layer has no map over height and width (coord_map.py: UndefinedMapException, AxisMismatchException)."""


class CoordinateMap(NamedTuple):
    """`top = scale * bottom + offset` along (height, width)."""

    scale: tuple[Fraction, ...] = (Fraction(1), Fraction(1))
    offset: tuple[Fraction, ...] = (Fraction(0), Fraction(0))

    def compose(self, inner: "CoordinateMap") -> "CoordinateMap":
        """The map that applies `inner` first and then this one."""
        return CoordinateMap(
            tuple(a * b for a, b in zip(self.scale, inner.scale, strict=True)),
            tuple(a * b + c for a, b, c in zip(self.scale, inner.offset, self.offset, strict=True)),
        )

    def inverse(self) -> "CoordinateMap":
        """The map from the top back to the bottom."""
        return CoordinateMap(
            tuple(1 / a for a in self.scale), tuple(-b / a for a, b in zip(self.scale, self.offset, strict=True))
        )


def coordinate_map(layer: LayerParameter) -> CoordinateMap | None:
    """The CoordinateMap of one layer (LayerParameter), from its first bottom to its top; None if it has none."""
    try:
        return _map_of(pixels_of(layer))
    except NoMap:
        return None


def pixels_of(layer: LayerParameter) -> Pixels:
    """How a layer's pixels lie over those of its bottoms, as its class says. Raises NoMap where they do not."""
    where = f"layer '{layer.name}' ({layer.type})"
    if layer.type not in REGISTRY:
        raise NoMap(f"{where}: this type is not known, and so it has no coordinate map; register a class for it, "
                    "with `pixels` (converters.register)")
    pixels = REGISTRY[layer.type](layer).pixels
    if pixels is None:
        raise NoMap(f"{where}: it has no coordinate map, since its top's pixels do not lie over its bottom's; choose blobs "
                    "that it does not lie between, or take it out")
    if pixels.axis != HEIGHT:
        raise NoMap(f"{where}: it maps the axes from {pixels.axis} on, other layers those from {HEIGHT} on (height, width); "
                    "let it work on these alone")
    return pixels


def _map_of(pixels: Pixels) -> CoordinateMap:
    height, width = map(_scale_and_offset, (pixels.height, pixels.width))
    return CoordinateMap((height[0], width[0]), (height[1], width[1]))


def _scale_and_offset(window: Window) -> tuple[Fraction, Fraction]:
    half = Fraction(window.kernel - 1, 2)
    if window.transposed:
        return Fraction(window.stride), half - window.pad
    return Fraction(1, window.stride), (window.pad - half) / window.stride


def crop_offset(net: NetParameter, bottom: str, reference: str) -> int | tuple[int, int]:
    """The offset of a Crop layer that cuts blob `bottom` to lie over blob `reference`, in pixels (coord_map.py, crop).

    `net` is a NetParameter that makes both. Returns an int, or (height, width) where they differ. Raises CaffeError where
    a layer without a map lies between the two, where nothing connects them, where they lie a fraction of a pixel or a
    negative number apart, or at different scales.
    """
    chain = Chain(net)
    back, forth = chain.maps_to(bottom), chain.maps_to(reference)
    common = next((blob for blob in forth.maps if blob in back.maps), None)
    if common is None:
        for one, other in (back, forth), (forth, back):
            if refusals := [refusal for blob, refusal in one.beyond.items() if blob in other.maps or blob in other.beyond]:
                raise refusals[0]
        raise CaffeError(f"cannot align '{bottom}' with '{reference}': no chain of layers connects them")
    scale, offset = forth.maps[common].compose(back.maps[common].inverse())
    where = f"cannot crop '{bottom}' to '{reference}'"
    if any(factor != 1 for factor in scale):
        raise CaffeError(f"{where}: one pixel of '{bottom}' is {_pair(scale)} pixels of '{reference}'; upsample it first")
    offset = tuple(-o for o in offset)
    if any(o.denominator != 1 for o in offset):
        raise CaffeError(f"{where}: the offset is {_pair(offset)}, not whole pixels; change a kernel size or padding by one")
    if min(offset) < 0:
        raise CaffeError(f"{where}: the offset is {_pair(offset)}, negative; pad the net's first convolution more")
    return int(offset[0]) if offset[0] == offset[1] else (int(offset[0]), int(offset[1]))


def stride(net: NetParameter, blob: str) -> Fraction | tuple[Fraction, Fraction]:
    """How many input pixels lie between neighbouring pixels of `blob`, a Fraction, or (height, width) where they differ.

    Of the input that is farthest down. Raises CaffeError for a blob that no layer makes, and where a layer without a map
    lies between the blob and every input.
    """
    chain = Chain(net)
    maps, beyond = chain.maps_to(blob)
    inputs = [found for found in maps if found not in chain.made]
    if not inputs:
        raise next(iter(beyond.values()))
    scale = maps[inputs[-1]].inverse().scale
    return scale[0] if scale[0] == scale[1] else (scale[0], scale[1])


def receptive_field(net: NetParameter, blob: str) -> int | tuple[int, int]:
    """How many input pixels one pixel of `blob` sees, padding included: an int, or (height, width) where they differ.

    `net` is a NetParameter; the numbers of CVPR's table 1. Below a Deconvolution the pixels see unequally much; the most is
    given. Raises CaffeError where a layer on the way has no map, or computes a pixel from more than lies below it.
    """
    chain = Chain(net)
    start = chain.blob(blob)
    layers = [(layer, chain.pixels(layer)) for layer in chain.above(start)]
    for layer, pixels in layers:
        if not pixels.local:
            raise CaffeError(f"layer '{layer.param.name}' ({layer.param.type}): it computes a pixel from more than lies "
                             f"below it, and so '{blob}' has no receptive field; choose a blob before this layer")
    height = _field([(layer, pixels.height) for layer, pixels in layers], start)
    width = _field([(layer, pixels.width) for layer, pixels in layers], start)
    return height if height == width else (height, width)


class State(NamedTuple):
    """A blob, and how many layers have made it by now: more than one where some work in place."""

    blob: str
    made: int


class Link(NamedTuple):
    """A layer, the blobs that its pixels lie over, and those that it makes."""

    param: LayerParameter
    bottoms: tuple[State, ...]
    tops: tuple[State, ...]


class Maps(NamedTuple):
    """`maps` {blob that another descends from: the CoordinateMap from there}, nearest first; `beyond` {others: why not}."""

    maps: dict[State, CoordinateMap]
    beyond: dict[State, CaffeError]


def mapped_bottoms(layer: LayerParameter) -> int | None:
    """How many bottoms of a layer, from the first, give it pixels; the others lend their size alone. None: all of them."""
    return REGISTRY[layer.type].mapped_bottoms if layer.type in REGISTRY else None


class Chain:
    """The layers of a net that have bottoms, in order, as `links`; `made`, what they make. The rest is inputs and data."""

    def __init__(self, net: NetParameter):
        self.links: list[Link] = []
        self._latest: dict[str, State] = {}
        for param in net.layer:
            bottoms = tuple(self._latest.setdefault(name, State(name, 0)) for name in param.bottom)[:mapped_bottoms(param)]
            for name in param.top:
                self._latest[name] = State(name, self._latest[name].made + 1 if name in self._latest else 0)
            if bottoms:
                self.links.append(Link(param, bottoms, tuple(self._latest[name] for name in param.top)))
        self.made = {top for link in self.links for top in link.tops}

    def blob(self, name: str) -> State:
        """The last state of a blob. Raises CaffeError where no layer makes it."""
        if name not in self._latest:
            raise CaffeError(f"no layer makes a blob '{name}'{instead(name, self._latest)}")
        return self._latest[name]

    def above(self, blob: State) -> list[Link]:
        """The links that a blob is computed from, last first."""
        wanted, found = {blob}, []
        for link in reversed(self.links):
            if wanted.intersection(link.tops):
                wanted.update(link.bottoms)
                found.append(link)
        return found

    def pixels(self, link: Link) -> Pixels:
        """The Pixels of a link. Raises NoMap where it has none."""
        if self._becomes_convolution(link):
            raise NoMap(f"layer '{link.param.name}' (InnerProduct): it has no coordinate map, since it sees the whole "
                        "image; convolutionize the net first (surgery.convolutionize)")
        return pixels_of(link.param)

    def _becomes_convolution(self, link: Link) -> bool:
        """Is it an InnerProduct that `surgery.convolutionize` replaces, with nothing before it that flattens the image?"""
        inner = link.param.inner_product_param
        if link.param.type != "InnerProduct" or inner.axis != 1 or inner.transpose:
            return False
        before = {before.param.type for before in self.above(link.bottoms[0])}
        return all(type in REGISTRY and (type == "InnerProduct" or REGISTRY[type].pixels is not Layer.pixels)
                   for type in before)

    def maps_to(self, name: str) -> Maps:
        """The Maps to a blob. Where a layer without a map closes one way, another may be open."""
        blob = self.blob(name)
        maps: dict[State, CoordinateMap] = {blob: CoordinateMap()}
        beyond: dict[State, CaffeError] = {}
        for link in self.above(blob):
            top = next((top for top in link.tops if top in maps), None)
            try:
                if top is None:
                    raise next(beyond[top] for top in link.tops if top in beyond)
                here = maps[top].compose(_map_of(self.pixels(link)))
                for bottom in link.bottoms:
                    maps.setdefault(bottom, here)
            except CaffeError as refusal:
                for bottom in link.bottoms:
                    beyond.setdefault(bottom, refusal)
        return Maps(maps, beyond)


def _field(links: list[tuple[Link, Window]], blob: State) -> int:
    """The receptive field of a blob along one axis."""
    repeat = prod(window.stride for _, window in links if window.transposed)
    return max(_extent(links, blob, start) for start in range(repeat))


def _extent(links: list[tuple[Link, Window]], blob: State, start: int) -> int:
    """How many pixels of the inputs pixel `start` of `blob` sees along one axis."""
    seen = {blob: (start, start)}
    for link, window in links:  # from the blob down
        tops = [seen[top] for top in link.tops if top in seen]
        first, last = window.seen(min(first for first, _ in tops), max(last for _, last in tops))
        for bottom in link.bottoms:
            low, high = seen.get(bottom, (first, last))
            seen[bottom] = min(low, first), max(high, last)
    made = {top for link, _ in links for top in link.tops}
    return max(last - first + 1 for found, (first, last) in seen.items() if found not in made)


def _pair(values: tuple[Fraction, ...]) -> str:
    return str(values[0]) if values[0] == values[1] else f"({values[0]}, {values[1]})"
