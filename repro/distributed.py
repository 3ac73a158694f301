"""One run on several processes, as torchrun starts them: `torchrun --nproc-per-node 2 -m repro train ...`.

Every process runs the whole command; what they must share goes through here. A process that torchrun did not start is rank
0 of 1, and for it nothing here does anything.
"""

import os
import re
import signal
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from converters.errors import CaffeError

# A process that dies is noticed at once; one whose machine is gone, after this long. No rank waits as long for another.
PATIENCE = timedelta(minutes=10)


@contextmanager
def process_group(device="cpu"):
    """Within it, the processes that torchrun has started work together: by gloo, and by nccl for what is on a GPU."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    # Its functions' defaults hold the group that there is when it is imported. One held beyond `destroy_process_group` keeps
    # gloo's threads, which abort the process when they let go of a tensor while Python ends.
    import torch.distributed.nn  # noqa: F401

    with _others_are_needed():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    # torchrun ends the others when one process has died; whichever notices first is to say so.
    signal.signal(signal.SIGTERM, _told_to_stop)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank():
    """The number of this process, from 0; rank 0 writes the files and says what is to be said."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shard():
    """(rank, world size): which of the images, taken in turn, are this process's."""
    return rank(), world_size()


def local_device(device):
    """The device of this process: of the machine's GPUs each of its processes takes one."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device


def all_reduce(tensors):
    """Replace each tensor, in place, by its sum over all ranks; the same numbers, bit by bit, on each of them."""
    if world_size() > 1:
        with _others_are_needed():
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()


def sums(*numbers):
    """The sums of some numbers over all ranks."""
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


def all_gather(tensor):
    """The tensors, alike in shape and on the CPU, of all ranks, by rank."""
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
        # gloo begins with its own source file and ends with advice.
        raise _alone(re.sub(r"^\[\S*\] ", "", str(error).splitlines()[0]).partition(". ")[0]) from None


def _told_to_stop(number, frame):
    raise _alone("torchrun stops this one")


def _alone(reason):
    where = f"rank {rank()} of {world_size()}: " if dist.is_initialized() else ""
    return CaffeError(f"{where}another process of this run has ended or cannot be reached ({reason}); look for its own "
                      "message. Training goes on from the newest snapshot with --resume")
