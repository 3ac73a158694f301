"""One run on several processes, as torchrun starts them: `torchrun --nproc-per-node 2 -m repro train ...`.

Every process runs the whole command, and shares with the others through the functions here. A process that torchrun did not
start is rank 0 of 1; for it these functions change nothing.
"""

import os
import re
import signal
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from converters.errors import CaffeError

# A process that dies is noticed at once. A machine that is gone is noticed after this long; no rank waits longer.
PATIENCE = timedelta(minutes=10)


@contextmanager
def process_group(device="cpu"):
    """A `with` in which the processes that torchrun started work together: by gloo, and by nccl for tensors on a GPU."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    # Imported before there is a group: its functions' defaults would hold the group, also after `destroy_process_group`.
    # gloo's threads then go on, and abort the process when they release a tensor while Python ends.
    import torch.distributed.nn  # noqa: F401

    with _others_are_needed():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    # When one process has died, torchrun stops the others. Each of them says so before it ends.
    signal.signal(signal.SIGTERM, _told_to_stop)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank():
    """The number of this process, from 0. Rank 0 writes the files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shard():
    """(rank, world size): this process takes every world-size-th image, from the rank-th on."""
    return rank(), world_size()


def local_device(device):
    """The device of this process: each process of a machine takes one of its GPUs."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device


def all_reduce(tensors):
    """Replace each tensor, in place, by its sum over all ranks. All ranks get the same bits."""
    if world_size() > 1:
        with _others_are_needed():
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()


def sums(*numbers):
    """The sum of each number over all ranks: [float, ...]."""
    total = torch.tensor(numbers, dtype=torch.float64)
    all_reduce([total])
    return total.tolist()


def broadcast(tensors):
    """Replace each tensor, in place, by rank 0's."""
    if world_size() > 1:
        with _others_are_needed():
            for tensor in tensors:
                dist.broadcast(tensor, 0)


def broadcast_object(value):
    """Rank 0's `value`, anything that can be pickled."""
    if world_size() == 1:
        return value
    box = [value]
    with _others_are_needed():
        dist.broadcast_object_list(box, 0)
    return box[0]


def first_rank(function, *arguments):
    """What rank 0 gets from a function that it alone calls; where it raises CaffeError the others end without a word."""
    result, error = None, None
    if rank() == 0:
        try:
            result = function(*arguments)
        except CaffeError as raised:
            error = raised
    result, failed = broadcast_object((result, error is not None))
    if error:
        raise error
    if failed:
        raise SystemExit(2)
    return result


def all_gather(tensor):
    """Every rank's tensor, in the order of the ranks. The tensors have one shape and are on the CPU."""
    if world_size() == 1:
        return [tensor]
    found = [torch.empty_like(tensor) for _ in range(world_size())]
    with _others_are_needed():
        dist.all_gather(found, tensor)
    return found


@contextmanager
def _others_are_needed():
    try:
        yield
    except RuntimeError as error:
        # gloo's message begins with its own source file and ends with advice; both are cut off.
        raise _alone(re.sub(r"^\[\S*\] ", "", str(error).splitlines()[0]).partition(". ")[0]) from None


def _told_to_stop(number, frame):
    raise _alone("torchrun stops this one")


def _alone(reason):
    where = f"rank {rank()} of {world_size()}: " if dist.is_initialized() else ""
    return CaffeError(f"{where}another process of this run has ended or cannot be reached ({reason}). Look for its own "
                      "message; --resume, or the same `repro reproduce`, goes on from the newest snapshot")
