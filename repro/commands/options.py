"""Options that several commands share."""

import click


def existing(kind):
    """A path that must exist: "file" or "folder"."""
    return click.Path(exists=True, file_okay=kind == "file", dir_okay=kind == "folder")


def _set_threads(context, param, value):
    if value:
        import torch

        torch.set_num_threads(value)


threads = click.option("--threads", type=click.IntRange(1), expose_value=False, callback=_set_threads,
                       help="processor threads  [default: all]")
seed = click.option("--seed", type=int, default=0, show_default=True, help="of drawing, filling, dropout and data order")


class Named(click.ParamType):
    """NAME=VALUE, as a pair; `form` says so in help and errors."""

    def __init__(self, form):
        self.name = form

    def convert(self, value, param, context):
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            self.fail(f"'{value}' is not {self.name}", param, context)
        return name, rest


folder = click.option("--folder", default="data", show_default=True, type=click.Path(file_okay=False),
                      help="where `repro fetch` puts data sets and weights")
at = click.option("--at", multiple=True, type=Named("NAME=PATH"), help="where else a set or weights are, by fetch's name")
as_json = click.option("--json", "as_json", is_flag=True, help="print JSON, for other programs")


def complete_net(context, param, incomplete):
    """The published nets whose names begin so, for the shell."""
    import reference

    return [name for name in reference.names() if name.startswith(incomplete)]
