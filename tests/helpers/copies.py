"""The ways in which a thing is copied: pickled, copied deeply, or saved by PyTorch and loaded."""

import copy
import io
import pickle

import torch


def saved(thing):
    """What comes back of it from a file."""
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {"pickle": lambda thing: pickle.loads(pickle.dumps(thing)), "deepcopy": copy.deepcopy, "save": saved}
