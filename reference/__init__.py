"""What was published: nets, solvers, splits, class names, tables, addresses."""

from reference.nets import fcn, names, net

__all__ = ["fcn", "names", "net"]
