"""What a Solver trains on: one image after another, in the random order of the release."""

import random
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn.functional import pad

from converters.errors import CaffeError
from reference.families import FAMILIES
from repro.data.images import VOID

# The blobs in which a pixel without content is void.
LABELS = ("label", *(head for family in FAMILIES.values() for head in family.heads))

# FCN-32s has one score for each 32 pixels. Score k is nearest to the pixels from 32 k - 3 on (64/32 upsampling, crop 19).
CELL, CELL_STARTS = 32, -3


class Feed:
    """An endless iterator of {blob: float32 tensor}, such as {"data": 1x3xHxW, "label": 1x1xHxW}, from a data set.

    Images are drawn at random with replacement: with the seed 1337, the same ones as the release's data layers draw.
    With `shuffle=False` they come in the order of the list, over and over. `mirror` flips each image with probability 1/2.
    `jitter` moves each by at most so many pixels both ways. (The paper tried both, with 32 pixels, and saw no gain; CVPR
    2015, section 4.3.) `sampling` trains on patches instead of whole images (section 4.2): it keeps the labels of each cell
    of the coarsest scores with that probability, and makes the others void.

    `shard`, (rank, world size), is for one process of several: it gives every world-size-th image, from the rank-th on.
    `state_dict` counts the images of all processes, and is the same in each.

    A thread decodes up to `ahead` images in advance. `state_dict` still describes only what was consumed: a restored feed
    goes on with the image that the interrupted one would have given next. An error with an image is raised by the `next`
    that would have given it. `close`, or the end of a `with`, ends the thread.
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
        # An image that fails stays first in line: it was not consumed, and the next call fails again.
        blobs = self._pending[0].result()
        self._pending.popleft()
        self.consumed += self.shard[1]
        return blobs

    def state_dict(self):
        """How many images were consumed, and the settings that fix the images to come."""
        return {"consumed": self.consumed} | self._identity()

    def load_state_dict(self, state):
        """Go on where another feed of the same images was. Raises CaffeError if its settings were others."""
        for name, ours in self._identity().items():
            kept = state.get(name, 1.0 if name == "sampling" else None)
            if kept != ours:
                raise CaffeError(f"the feed cannot go on: {name} is {ours}, but was {kept} when the state was saved")
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
        """Drop the images decoded in advance, and set the generator to where it is after so many images."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        self._random = random.Random(self.seed)
        self._drawn = 0
        for _ in range(consumed):
            self._draw()
        self.consumed = consumed

    def _draw_own(self):
        """The next draw of this process; the other processes' draws are made too, and dropped."""
        rank, world_size = self.shard
        return [self._draw() for _ in range(world_size)][rank]

    def _draw(self):
        """The number of the next draw and the index of its image."""
        number, images = self._drawn, len(self.dataset)
        self._drawn += 1
        # As Python 2's randint(0, images - 1). Python 3's would draw other images.
        return number, int(self._random.random() * images) if self.shuffle else number % images

    def _blobs(self, number, index):
        blobs = self.dataset.blobs(index)
        # Each image has its own generator, so that the order of the images stays the release's.
        chance = random.Random(f"{self.seed} {number}")
        if self.mirror and chance.random() < 0.5:
            blobs = {name: blob.flip(3) for name, blob in blobs.items()}
        if self.jitter:
            size = next(iter(blobs.values())).shape[2:]
            down, right = (chance.randint(-most, most) for most in (min(self.jitter, side) for side in size))
            move = (right, -right, down, -down)  # one side is padded by what the other is cut by
            blobs = {name: pad(blob, move, value=VOID if name in LABELS else 0) for name, blob in blobs.items()}
        if self.sampling < 1:
            size = next(iter(blobs.values())).shape[2:]
            rows, columns = ((side - 1 - CELL_STARTS) // CELL + 1 for side in size)
            kept = torch.tensor([[chance.random() < self.sampling for _ in range(columns)] for _ in range(rows)])
            kept = kept.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)[-CELL_STARTS:, -CELL_STARTS:]
            void = ~kept[:size[0], :size[1]]
            blobs = {name: blob.masked_fill(void, VOID) if name in LABELS else blob for name, blob in blobs.items()}
        return blobs
