"""Programs that take turns at the same work, each in a process of its own, so that its memory is its own."""

import multiprocessing
import sys
import time
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from converters.errors import CaffeError


class Measurement(NamedTuple):
    """What a contestant's turns took, in seconds, and its process's peak of resident memory, in bytes.

    `gflop` (two for a multiplication with an addition) counts one turn, where PyTorch can count it. `results`: what each
    turn gave.
    """

    name: str
    turns: list
    peak: int
    gflop: float | None
    results: list

    @property
    def seconds(self):
        """The median of the turns."""
        return median(self.turns)


class Contestant:
    """A process that loads a program and then takes turns when told.

    `load(*arguments)` runs in the process and returns the function of a turn. It belongs in a module that imports nothing
    large, so that the process holds only what the program needs.
    """

    def __init__(self, name, load, *arguments):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, load, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what):
        """The answer to "turn" (result, seconds), "peak" (bytes) or "count" (GFLOP). Raises CaffeError if it fails."""
        try:
            self._pipe.send(what)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise CaffeError(f"{self.name} ended by itself (exit status {self._process.exitcode})") from None
        if isinstance(answer, Exception):
            raise CaffeError(f"{self.name} failed: {answer}")
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()  # which ends it, unless it is at work
        self._process.join(timeout=1)
        self._process.kill()


def _serve(pipe, load, arguments):
    run = None
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            return
        try:
            run = run or load(*arguments)
            pipe.send({"turn": timed, "peak": _peak, "count": _count}[what](run))
        except Exception as error:  # whatever another program raises
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}".splitlines()[0]))


def timed(run):
    """(what `run()` gives, how many seconds it took)"""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def _peak(run):
    if sys.platform == "linux":  # what getrusage says there counts the process's parent, too
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _count(run):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def table(measured, columns="", more=lambda one: ""):
    """Lines: each one's median with its spread, ratio to the first, `more` below the headings `columns`, and memory."""
    yield f"{'':26} seconds    least     most    ratio{columns}  peak MiB"
    for one in measured:
        yield (f"{one.name:24} {one.seconds:9.2f} {min(one.turns):8.2f} {max(one.turns):8.2f} "
               f"{one.seconds / measured[0].seconds:8.2f}{more(one)} {one.peak / 2**20:9.0f}")


def take_turns(contestants, runs, counted=()):
    """[Measurement, ...] of contestants given as {name: (load, *arguments)}, after a first turn that does not count.

    counted: the names of those whose GFLOP PyTorch can count.
    """
    with ExitStack() as stack:
        entered = [stack.enter_context(Contestant(name, *program)) for name, program in contestants.items()]
        turns = [[contestant.ask("turn") for contestant in entered] for _ in range(1 + runs)][1:]
        measured = []
        for contestant, taken in zip(entered, zip(*turns, strict=True), strict=True):
            results, seconds = zip(*taken, strict=True)
            peak = contestant.ask("peak")
            gflop = contestant.ask("count") if contestant.name in counted else None
            measured.append(Measurement(contestant.name, list(seconds), peak, gflop, list(results)))
    return measured
