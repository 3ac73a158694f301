"""Reading and writing beside the net's computing: images are read before their turn and written after it."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

WAITING = 2  # images that are read before their turn, or wait to be written


def prefetch(function, items):
    """Yield (item, function(item)) of each item in order, computed by a thread before its turn.

    What the function raises is raised at the item's turn.
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
    """A function `later(function, *arguments)`: a thread calls the functions in order, all of them before the `with` ends.

    What one raises is raised by a `later` soon after, or at the end.
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
