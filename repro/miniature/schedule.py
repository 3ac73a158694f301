"""How the miniature trains: the stages of the paper, with iterations and rates of its own."""

from typing import NamedTuple

TRAIN, VAL = 1000, 100  # drawn scenes

BANNER = "THE MINIATURE: drawn pictures and narrow nets. Its numbers are its own and never the paper's."


class Stage(NamedTuple):
    iterations: int
    base_lr: float


STAGES = {
    "voc-fcn32s": Stage(4500, 2e-9),
    "voc-fcn16s": Stage(2500, 1e-10),
    "voc-fcn8s": Stage(2000, 1e-11),
    "voc-fcn32s-fixed": Stage(4500, 2e-9),
}
