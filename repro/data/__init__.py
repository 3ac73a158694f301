"""Data sets in the formats they are published in, and the feed that gives their images to a Solver."""

from repro.data.dataset import Dataset, Sample
from repro.data.feed import Feed
from repro.data.nyud import open_nyud
from repro.data.pascalcontext import open_pascalcontext
from repro.data.sbd import open_sbd
from repro.data.siftflow import open_siftflow
from repro.data.voc import open_voc

__all__ = ["Dataset", "Feed", "Sample", "open_nyud", "open_pascalcontext", "open_sbd", "open_siftflow", "open_voc"]
