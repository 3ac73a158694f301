from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden():
    """The folder of Caffe's own answers."""
    return Path(__file__).parent / "golden"
