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


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [name for name in PACKAGES[extra] if find_spec(name) is None]


def how_to_install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'caffe-fcn[{extra}]'"


def require(extra: str, what: str) -> None:
    """Raise CaffeError, which names the packages and the command, unless the extra that `what` needs is installed."""
    if names := missing(extra):
        raise CaffeError(f"{what} needs {' and '.join(names)}: {how_to_install(extra)}")
