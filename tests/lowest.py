"""Prints the lowest versions that setup.cfg allows of the core and of the extras that commands need: make test-lowest.

As pip takes constraints. What only develops, documents or fuzzes the project may be of any version.
"""

import re
from configparser import ConfigParser
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
EXTRAS = ("report", "serve", "fetch", "tensorboard")


def lowest(setup):
    """["torch==2.4", ...] of a setup.cfg."""
    parser = ConfigParser()
    parser.read(setup)
    texts = [parser["options"]["install_requires"], *(parser["options.extras_require"][extra] for extra in EXTRAS)]
    found = re.findall(r"^([\w-]+)>=([\w.]+)", "\n".join(texts), re.MULTILINE)
    return sorted({f"{name}=={version}" for name, version in found})


if __name__ == "__main__":
    print("\n".join(lowest(SETUP)))
