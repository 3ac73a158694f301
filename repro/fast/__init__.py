"""The fast path: a net's answers in less time and memory."""

from repro.fast.accelerate import Accelerated, accelerate

__all__ = ["Accelerated", "accelerate"]
