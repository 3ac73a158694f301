"""repro inspect"""

import json

import click

from repro.commands.convert import input_size
from repro.commands.options import as_json, existing


@click.command()
@click.argument("file", type=existing("file"))
@input_size
@as_json
def command(file, input_size, as_json):
    """Say what is in FILE: a caffemodel, prototxt, safetensors, solverstate or mean.

    Of a net: generation, layers, shapes, parameters, memory, and multiply-adds at --input-size or the size it declares.
    """
    from converters.inspect import inspect, lines

    found = inspect(file, input_size)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
