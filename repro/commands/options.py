"""Options that several commands share."""

from pathlib import Path

import click

from converters.files import did_you_mean_file


class Existing(click.Path):
    """A path that must exist; where it does not, the nearest names beside it are suggested."""

    def convert(self, value, param, context):
        try:
            return super().convert(value, param, context)
        except click.BadParameter as error:
            if not Path(value).exists():
                error.message = error.message.removesuffix(".") + (did_you_mean_file(value) or ".")
            raise


def existing(kind):
    """A path that must exist: "file" or "folder"."""
    return Existing(exists=True, file_okay=kind == "file", dir_okay=kind == "folder")


class Size(click.ParamType):
    """HEIGHTxWIDTH in pixels, or one number for both, as (height, width)."""

    name = "HxW"

    def convert(self, value, param, context):
        try:
            size = tuple(int(part) for part in str(value).lower().split("x"))
        except ValueError:
            size = ()
        if len(size) not in (1, 2) or min(size) < 1:
            self.fail(f"'{value}' is not a size: give height and width as 375x500, or one number for both", param, context)
        return size * 2 if len(size) == 1 else size


input_size = click.option("--input-size", type=Size(), help="height and width of the net's input  [default: as declared]")


class Width(click.ParamType):
    """A net's width as `reference.net` takes it: one number, or two with a comma between."""

    name = "number[,fc]"

    def convert(self, value, param, context):
        if not isinstance(value, str):
            return value
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or not all(0 < number < float("inf") for number in numbers):
            self.fail(f"'{value}' is neither a number nor two, as 1,0.125", param, context)
        return numbers[0] if len(numbers) == 1 else tuple(numbers)


def width(default):
    """--width, by default what the words `default` say."""
    return click.option("--width", type=Width(), help="channels, as a share of the published net's; after a comma those of "
                                                      f"fc6 and fc7: 1,0.125  [default: {default}]")


def _set_threads(context, param, value):
    if value:
        import torch

        torch.set_num_threads(value)


threads = click.option("--threads", type=click.IntRange(1), expose_value=False, callback=_set_threads,
                       help="processor threads  [default: all]")
seed = click.option("--seed", type=int, default=0, show_default=True, help="of drawing, filling, dropout and data order")


# These import what they ask for, since `repro convert` needs neither and starts quickly.
def scheme(*more):
    from reference.schemes import SCHEMES

    return click.option("--scheme", multiple=True, type=click.Choice([*more, *SCHEMES]),
                        help="train as the papers tried it; several may be given")


def head(function):
    from reference.families import FAMILIES

    heads = [head for family in FAMILIES.values() for head in family.heads]
    return click.option("--head", type=click.Choice(heads),
                        help="which head of a net with several, such as SIFT Flow's  [default: sem]")(function)


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
at = click.option("--at", multiple=True, type=Named("NAME=PATH"),
                  help="where else a set or weights are, by the name that `repro fetch` has for it")
as_json = click.option("--json", "as_json", is_flag=True, help="print JSON, for other programs")


def complete_net(context, param, incomplete):
    """The published nets whose names begin so, for the shell."""
    import reference

    return [name for name in reference.names() if name.startswith(incomplete)]
