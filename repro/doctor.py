"""What a helper asks first: versions, threads, devices, and which data and weights are at hand."""

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import torch

from reference.weights import DOWNLOADS
from repro.data.locate import MARKS

PROGRAM = "caffe-fcn"


def diagnose(at_hand):
    """A dictionary, ready for JSON, of this installation and of what an `AtHand` finds.

    "packages" and "extras" give {package: version, or None where it is not installed}; "found" gives {name of a set or of
    weights: {"path", "looked_in"}}, the path None where there is none.
    """
    _, extras = requirements()
    return {
        **environment(),
        "installed_in": str(Path(__file__).parent),
        "executable": sys.executable,
        "extras": {extra: {name: version(name) for name in names} for extra, names in extras.items()},
        "found": {name: {"path": _text(at_hand.find(name)), "looked_in": str(at_hand.place(name))}
                  for name in dict.fromkeys([*MARKS, *DOWNLOADS])},
    }


def environment():
    """What results may depend on: this program, Python and the packages with their versions, platform, threads, devices."""
    required, _ = requirements()
    return {
        "version": metadata.version(PROGRAM),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in required},
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": devices(),
    }


def requirements():
    """([package, ...], {extra: [package, ...]}) that this installation names."""
    required, extras = [], {}
    for line in metadata.requires(PROGRAM):
        name = re.match(r"[\w.-]+", line)[0]
        if name == PROGRAM:  # an extra that is made of others
            continue
        extra = re.search(r"""extra == ["']([\w-]+)""", line)
        (extras.setdefault(extra[1], []) if extra else required).append(name)
    return required, extras


def version(package):
    """A package's version, or None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def devices():
    """What torch can compute on, a line each, the processor first."""
    found = [platform.processor() or platform.machine()]
    found += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def lines(found):
    """What `diagnose` found, for reading."""
    yield f"{PROGRAM} {found['version']} in {found['installed_in']}"
    yield f"Python {found['python']} ({found['executable']}), {found['platform']}"
    yield f"with {_versions(found['packages'])}"
    for extra, packages in found["extras"].items():
        missing = "" if all(packages.values()) else f": pip install '{PROGRAM}[{extra}]'"
        yield f"extra {extra}: {_versions(packages)}{missing}"
    yield f"{found['threads']} threads on {found['processors']} processors; devices: {', '.join(found['devices'])}"
    yield "data and weights:"
    for name, place in found["found"].items():
        absent = f"not in {place['looked_in']}" + (f"; repro fetch {name}" if name in DOWNLOADS else "")
        yield f"  {name:24} {place['path'] or absent}"


def _versions(packages):
    return ", ".join(f"{name} {version or '(not installed)'}" for name, version in packages.items())


def _text(path):
    return None if path is None else str(path)
