"""Packages that only some commands need, and what to say where one is not installed."""

from importlib.util import find_spec

from converters.errors import CaffeError

# What setup.cfg's extras of these names install.
PACKAGES = {
    "report": ("matplotlib", "jinja2"),
    "serve": ("bottle", "waitress", "jinja2"),
    "fetch": ("requests",),
    "tensorboard": ("tensorboard",),
}


def missing(extra: str, *packages: str) -> list[str]:
    """Which of an extra's packages, or of those that are named, are not installed."""
    specs = {name: find_spec(name) for name in packages or PACKAGES[extra]}
    # A folder of that name, as a run's "tensorboard", is found too where it lies in the working directory; it has no origin.
    return [name for name, spec in specs.items() if spec is None or spec.origin is None]


def how_to_install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'caffe-fcn[{extra}]'"


def require(extra: str, what: str, *packages: str) -> None:
    """Raise CaffeError, which names the packages and the command, unless what `what` needs of an extra is installed."""
    if names := missing(extra, *packages):
        raise CaffeError(f"{what} needs {' and '.join(names)}: {how_to_install(extra)}")
