"""Reading ahead and writing behind keep the order, the bounds and the errors."""

import threading

import pytest

from repro.data.prefetch import WAITING, prefetch, write_behind


def test_items_come_in_order_and_only_so_many_are_read_ahead():
    read = []
    for turn, (item, square) in enumerate(prefetch(lambda item: read.append(item) or item**2, range(9))):
        assert (item, square) == (turn, turn**2)
        assert len(read) <= turn + 1 + WAITING
    assert read == list(range(9))


def test_an_error_in_reading_comes_at_the_items_turn():
    turns = prefetch(lambda item: 1 / (item - 2), range(4))
    assert [next(turns)[0], next(turns)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(turns)


def test_all_is_written_in_order_by_another_thread_before_the_end():
    written, threads = [], set()
    with write_behind() as later:
        for item in range(5):
            later(lambda item: (written.append(item), threads.add(threading.get_ident())), item)
    assert written == list(range(5))
    assert threads and threading.get_ident() not in threads


def test_an_error_in_writing_is_raised():
    with pytest.raises(OSError, match="disk full"), write_behind() as later:
        later(full)


def full():
    raise OSError("disk full")
