"""What the tests share."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"  # Caffe's own answers
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared"))  # real data sets, where they are at hand
