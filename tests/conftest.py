
import pytest
from helpers import GOLDEN


@pytest.fixture(scope="session")
def golden():
    """The folder of Caffe's own answers."""
    return GOLDEN
