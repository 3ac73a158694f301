"""Read and write while the net computes: a thread reads images before their turn and writes results after it."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

WAITING = 2  # images that are read in advance, or wait to be written


def prefetch(function, items):
    """Yield (item, function(item)) for each item in order; a thread computes it before its turn.

    An error of the function is raised at the item's turn.
    """
    waiting = deque()
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > WAITING:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _result(item, future):
    return item, future.result()


@contextmanager
def write_behind():
    """A `with` whose value is `later(function, *arguments)`: a thread calls the functions in order, before the `with` ends.

    An error of a function is raised by a `later` soon after, or at the end of the `with`.
    """
    waiting = deque()

    def later(function, *arguments):
        waiting.append(pool.submit(function, *arguments))
        if len(waiting) > WAITING:
            waiting.popleft().result()

    with ThreadPoolExecutor(1) as pool:
        yield later
        while waiting:
            waiting.popleft().result()
