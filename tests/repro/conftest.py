import os
from pathlib import Path

import pytest
import torch

SHARED = Path(os.environ.get("SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture
def shared():
    """Find a real data set (voc-sample, voc-masks, camvid) in the folder that SHARED names, or skip the test."""

    def find(name):
        if not (SHARED / name).is_dir():
            pytest.skip(f"no {name} at hand: set SHARED to the folder that holds it")
        return SHARED / name

    return find


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small are slower on several threads, and many times slower where others use the processor too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
