"""How the miniature trains: the stages of the paper, with iterations and rates of its own."""

from typing import NamedTuple

TRAIN, VAL = 1000, 100  # drawn scenes

BANNER = "THE MINIATURE: drawn pictures and narrow nets. Its numbers are its own and never the paper's."


class MiniatureStage(NamedTuple):
    """What a stage of the miniature has of its own."""

    iterations: int
    base_lr: float


STAGES = {
    "voc-fcn32s": MiniatureStage(4500, 2e-9),
    "voc-fcn16s": MiniatureStage(2500, 1e-10),
    "voc-fcn8s": MiniatureStage(2000, 1e-11),
    "voc-fcn32s-fixed": MiniatureStage(4500, 2e-9),
}
