"""What the tests share."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"  # Caffe's own answers
# For a test file that runs itself as another process.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared"))  # real data sets, where they are at hand
