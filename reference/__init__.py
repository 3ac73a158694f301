"""What was published: nets, solvers, splits, class names, tables, addresses."""

from reference import paper
from reference.lists import classes, split
from reference.nets import fcn, names, net
from reference.solvers import schedule, solver
from reference.weights import download

__all__ = ["classes", "download", "fcn", "names", "net", "paper", "schedule", "solver", "split"]
