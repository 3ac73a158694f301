"""The paper's numbers beside ours: facts, the released weights scored again, nets trained again."""

import json
from pathlib import Path
from typing import NamedTuple

import reference
import repro
from converters.errors import CaffeFileError
from reference.families import family_of
from reference.paper import METRICS, RESCORED
from reference.weights import DOWNLOADS
from repro.data.published import open_data
from repro.reproduction.facts import facts
from repro.scoring import score
from repro.scoring.tables import TITLES

RELEASED_TOLERANCE = 0.05  # in percent: the released weights are the very ones that were published
RETRAINED_TOLERANCE = 0.5
RELEASED = [name for name in DOWNLOADS if "-fcn" in name]
RETRAINED = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")
SBD_TRAIN = 8498  # images


class Check(NamedTuple):
    """One line of the table: a number of ours beside the published one, or why there is none of ours."""

    what: str
    ours: float | None
    published: float
    tolerance: float = 0
    informs: bool = False  # known from memory of the paper alone: never fails
    missing: str | None = None  # why there is nothing to compare, and what to do

    @property
    def difference(self):
        return None if self.ours is None else self.ours - self.published

    @property
    def verdict(self):
        """"ok", "FAILED", "skipped" or "information"."""
        if self.ours is None:
            return "skipped"
        if self.informs:
            return "information"
        # nan fails; the slack is for what subtraction rounds.
        return "ok" if abs(self.difference) <= self.tolerance + 1e-9 else "FAILED"


def fact_checks():
    """(a) What needs no data."""
    for what, ours, published in facts():
        yield Check(what, ours, published)


def set_checks(at_hand):
    """Whether the sets at hand are the published ones: scores on others are not comparable."""
    voc, sbd = at_hand.find("voc2011"), at_hand.find("sbd")
    if voc:
        ids = open_data("voc-fcn8s", voc).ids
        same = len(set(ids) & set(reference.split("seg11valid")))
        yield Check("voc2011: images of seg11valid", same, len(reference.split("seg11valid")))
    if sbd:
        yield Check("sbd: images to train on", len(open_data("voc-fcn8s", sbd, "train").ids), SBD_TRAIN)
    else:
        yield Check("sbd: images to train on", None, SBD_TRAIN, missing=at_hand.missing("sbd"))


def released_checks(at_hand, nets=RELEASED, against=None):
    """(b) The released weights, scored on what they were published with, within 0.05 percent.

    at_hand: an `AtHand`. against: {net: {metric: percent}} to compare with in place of what was published.
    """
    for net in nets if against is None else against:
        missing = at_hand.missing(net, *_sets(net).values())
        heads = family_of(net).head_names
        for head in heads if against is None else heads[:1]:
            scores, informs = published_scores(net, head) if against is None else (against[net], False)
            ours = {} if missing or not scores else _score(net, head, at_hand)
            for metric, published in scores.items():
                yield Check(_title(net, head, metric), ours.get(metric), published, RELEASED_TOLERANCE, informs, missing)


def published_scores(net, head=None):
    """({metric: percent}, whether they only inform) of what released weights are held to; {} where nothing was published.

    Where the released weights were scored again, to the fourth decimal; elsewhere what the later paper has, as rounded.
    """
    rescored = reference.paper.rows(net, source=RESCORED)
    row = rescored[0] if rescored else reference.paper.published(net, head)
    return (row.scores, not row.confirmed) if row else ({}, True)


def retrained_checks(runs):
    """(c) The mean IU of nets that were trained again, RUNS/NAME/results.json, within 0.5 percent."""
    found = set()
    for path in sorted(Path(runs).glob("*/results.json")):
        results = _read_json(path)
        for net, stage in results.get("stages", {}).items() if results.get("scale") == "paper" else ():
            row = reference.paper.published(net)
            if row and row.mean_iu:
                found.add(net)
                yield Check(f"{path.parent}: {net}", 100 * stage["mean_iu"], row.mean_iu, RETRAINED_TOLERANCE,
                            informs=not row.confirmed)
    for net in RETRAINED:
        if net not in found:
            yield Check(f"{net}, trained again", None, reference.paper.scores(net)["mean_iu"], RETRAINED_TOLERANCE,
                        missing=f"no run of the paper's job in {runs}: make reproduce-{net.removeprefix('voc-')} "
                        "DATA=... SBD=... WEIGHTS=...")


def read_scores(path):
    """{net: {metric: percent}} from the JSON that `repro evaluate` wrote."""
    report = _read_json(path)
    try:
        return {report["net"]: {metric: 100 * report[metric] for metric in METRICS}}
    except (KeyError, TypeError) as error:
        raise CaffeFileError(path, "does not hold the scores of a net, as `repro evaluate -o` writes them") from error


def _title(net, head, metric):
    """The main head of several is the one that goes without saying."""
    family = family_of(net)
    words = "" if head == family.head_names[0] else f", {family.heads[head]}"
    return f"{net}{words}: {TITLES[metric]}"


def _sets(net):
    """{"data", and what else it takes to score a net: by what name it is at hand}."""
    return {name: source.name for name, source in family_of(net).sources.items() if name != "sbd"}


def _score(net, head, at_hand):
    """{metric: percent} of the weights at hand, converted on the way, on their set."""
    dataset = open_data(net, head=head, **{name: at_hand.find(place) for name, place in _sets(net).items()})
    scores = score(repro.load(net, at_hand.find(net)), dataset, head, f"scoring {net}").scores()
    return {metric: 100 * value for metric, value in scores.means().items()}


def _read_json(path):
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise CaffeFileError(path, f"is not JSON: {error}") from error
