"""What a net starts from: the release's surgeries, chosen by what the net has (names, depth, two streams, more classes)."""

from collections.abc import Mapping, Sequence

import numpy as np

import surgery
from converters import CaffeError, CaffeNet, read_caffemodel
from converters.files import FilePath
from surgery.interp import upsampling_layers
from surgery.transplant import TransplantReport

Weights = FilePath | Mapping[str, Sequence[np.ndarray]]

STREAMS = ("color", "hha")  # of nyud-fcn32s-color-hha: what the names of each trunk's layers end in
FOUR_CHANNELS, THREE_CHANNELS = "conv1_1_bgrd", "conv1_1"  # of nyud-fcn32s-color-d


def prepare(net: CaffeNet, weights: Weights | Sequence[Weights], fill_missing: str | None = None, interpolate: bool = True,
            expand_scores: bool = False) -> TransplantReport:
    """The surgery before training: transplant `weights`, then interpolate in the upsampling layers.

    A layer left with neither weights nor a filler would stay zero and learn nothing. Such layers are filled with the
    Caffe filler `fill_missing`; without one CaffeError names them. Returns the TransplantReport.
    """
    report = transplant(net, weights, expand_scores)
    empty = surgery.unfilled(net)
    if interpolate:
        surgery.interp(net)
    else:
        empty += [name for name in upsampling_layers(net) if not net.params[name][0].any()]
    if empty and not fill_missing:
        sources = weights if isinstance(weights, list | tuple) else [weights]
        given = ", ".join("what was given" if isinstance(source, dict) else str(source) for source in sources)
        raise CaffeError(f"layers {', '.join(empty)} have no weights in {given} and no filler: they would stay zero and "
                         "learn nothing; give weights that hold them, or fill them with --fill-missing msra")
    surgery.fill_missing(net, empty, fill_missing or "msra")
    return report


def transplant(net, weights, expand_scores=False):
    """Give a CaffeNet the weights that it starts from, as its solve.py does; returns a TransplantReport.

    weights: a caffemodel's path or {layer: [array, ...]}; or a list of these, of one or of two: the color net's and the
    HHA net's, for the two streams. A `conv1_1_bgrd` without weights of its own takes those of `conv1_1`, depth being the
    mean of the colors. expand_scores: score layers of fewer classes fill the first classes of the net's.
    """
    sources = [source if isinstance(source, dict) else read_caffemodel(source).blobs
               for source in (weights if isinstance(weights, list | tuple) else [weights])]
    if len(sources) > len(STREAMS):
        raise CaffeError(f"{len(sources)} nets to start from; there may be one, or color and HHA for two streams")
    suffixes = STREAMS if len(sources) == 2 else ("",)
    report = _merged([surgery.transplant(net, *pair) for pair in zip(sources, suffixes, strict=True)])
    if FOUR_CHANNELS in report.untouched and THREE_CHANNELS in sources[0]:
        surgery.expand_input(net, FOUR_CHANNELS, sources[0], THREE_CHANNELS)
        _mend(report, net, FOUR_CHANNELS, sources[0], THREE_CHANNELS)
    if expand_scores:
        for name in [name for name, _ in report.dropped if name in net.params and name.startswith("score")]:
            surgery.expand_score(net, name, sources[0], name)
            _mend(report, net, name, sources[0], name)
    return report


def _merged(reports):
    """One report of transplants into the same net: untouched is what none of them touched."""
    merged = TransplantReport(untouched=[name for name in reports[0].untouched
                                         if all(name in report.untouched for report in reports)])
    for report in reports:
        merged.copied += report.copied
        merged.coerced += report.coerced
        merged.dropped += report.dropped
    return merged


def _mend(report, net, name, source, source_name):
    """Enter a layer that took another layer's weights in part as coerced."""
    report.untouched.remove(name)
    report.dropped = [(layer, why) for layer, why in report.dropped if layer != source_name]
    report.coerced += [(name, i, tuple(old.shape), tuple(new.shape))
                       for i, (old, new) in enumerate(zip(source[source_name], net.params[name], strict=True))
                       if old.size != new.numel()]
