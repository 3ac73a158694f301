"""What was published: nets, solvers, splits, class names, tables, addresses.

`families` holds what is known of each family of data sets, `nets` its nets. A name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from converters import exports
from reference import paper

if TYPE_CHECKING:
    from reference.families import family_of
    from reference.lists import classes, split
    from reference.nets import fcn, names, net
    from reference.solvers import schedule, solver
    from reference.weights import download

    __all__ = ["classes", "download", "family_of", "fcn", "names", "net", "paper", "schedule", "solver", "split"]
else:
    __getattr__, __dir__, __all__ = exports(__name__, {
        "reference.families": ("family_of",),
        "reference.lists": ("classes", "split"),
        "reference.nets": ("fcn", "names", "net"),
        "reference.solvers": ("schedule", "solver"),
        "reference.weights": ("download",),
    })
    __all__ = sorted([*__all__, "paper"])
