"""What a Solver trains on: one image after another, drawn as the release draws them."""

import random
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn.functional import pad

from converters.errors import CaffeError
from repro.data.images import VOID

LABELS = ("label", "sem", "geo")  # the blobs in which a pixel without content is void

# FCN-32s has a score for every 32 pixels; cell k is nearest to the pixels from 32 k - 3 on (64/32 upsampling, crop 19).
CELL, CELL_STARTS = 32, -3


class Feed:
    """An endless iterator of {blob: float32 tensor}, such as {"data": 1x3xHxW, "label": 1x1xHxW}, from a data set.

    Images are drawn at random with replacement, the same ones as the release's data layers draw after seeding with 1337;
    with `shuffle=False` they come in list order, over and over. `mirror` flips half of them by chance and `jitter`
    moves each by up to so many pixels both ways (the paper tried both, with 32 pixels, to no gain; CVPR 2015, section 4.3).
    `sampling` keeps the labels of each cell of the coarsest scores with that probability and makes the others void: patches
    in place of whole images (section 4.2).

    `shard`, (rank, world size), gives one image in `world size`, from the rank-th on: what one process of several
    trains on.
    States count the images of all of them and are the same for each.

    A thread decodes up to `ahead` images in advance; `state_dict` nevertheless describes what was consumed, so that a
    restored feed goes on with the very image that the interrupted one would have given next. What goes wrong with an
    image is raised by the `next` that would have given it. `close` ends the thread, as the end of a `with` does.
    """

    def __init__(self, dataset, shuffle=True, seed=1337, mirror=False, jitter=0, sampling=1.0, shard=(0, 1), ahead=4):
        self.dataset, self.shard, self.ahead = dataset, shard, ahead
        self.shuffle, self.seed, self.mirror, self.jitter, self.sampling = shuffle, seed, mirror, jitter, sampling
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._pending = deque()
        self._seek(0)

    def __iter__(self):
        return self

    def __next__(self):
        while len(self._pending) < max(1, self.ahead):
            self._pending.append(self._thread.submit(self._blobs, *self._draw_own()))
        # An image that fails stays at the head: it was not consumed, and asking again fails again.
        blobs = self._pending[0].result()
        self._pending.popleft()
        self.consumed += self.shard[1]
        return blobs

    def state_dict(self):
        """How many images were consumed, and what together with that fixes the images to come."""
        return {"consumed": self.consumed} | self._identity()

    def load_state_dict(self, state):
        """Go on where another feed of the same images was; CaffeError if it drew otherwise than this one."""
        for name, ours in self._identity().items():
            kept = state.get(name, 1.0 if name == "sampling" else None)
            if kept != ours:
                raise CaffeError(f"the feed cannot go on: {name} is {ours}, but was {kept} when the state was kept")
        self._seek(state["consumed"])

    def close(self):
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _identity(self):
        names = ("shuffle", "seed", "mirror", "jitter", "sampling")
        return {"images": len(self.dataset)} | {name: getattr(self, name) for name in names}

    def _seek(self, consumed):
        """Drop what was decoded ahead and bring the generator to where it is after so many images."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        self._random = random.Random(self.seed)
        self._drawn = 0
        for _ in range(consumed):
            self._draw()
        self.consumed = consumed

    def _draw_own(self):
        """The next draw of this process; the draws of the others are made in passing."""
        rank, world_size = self.shard
        return [self._draw() for _ in range(world_size)][rank]

    def _draw(self):
        """The number of the next draw and the index of its image."""
        number, images = self._drawn, len(self.dataset)
        self._drawn += 1
        # Python 2's randint(0, images - 1); Python 3's draws others.
        return number, int(self._random.random() * images) if self.shuffle else number % images

    def _blobs(self, number, index):
        blobs = self.dataset.blobs(index)
        # A generator of their own for each image: the draw of images stays the release's.
        chance = random.Random(f"{self.seed} {number}")
        if self.mirror and chance.random() < 0.5:
            blobs = {name: blob.flip(3) for name, blob in blobs.items()}
        if self.jitter:
            size = next(iter(blobs.values())).shape[2:]
            down, right = (chance.randint(-most, most) for most in (min(self.jitter, side) for side in size))
            move = (right, -right, down, -down)  # what is padded on one side is cut from the other
            blobs = {name: pad(blob, move, value=VOID if name in LABELS else 0) for name, blob in blobs.items()}
        if self.sampling < 1:
            size = next(iter(blobs.values())).shape[2:]
            rows, columns = ((side - 1 - CELL_STARTS) // CELL + 1 for side in size)
            kept = torch.tensor([[chance.random() < self.sampling for _ in range(columns)] for _ in range(rows)])
            kept = kept.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)[-CELL_STARTS:, -CELL_STARTS:]
            void = ~kept[:size[0], :size[1]]
            blobs = {name: blob.masked_fill(void, VOID) if name in LABELS else blob for name, blob in blobs.items()}
        return blobs
