"""repro inspect"""

import json

import click

from repro.commands.options import as_json, existing, input_size


@click.command()
@click.argument("file", type=existing("file"))
@input_size
@click.option("--picture", type=click.Path(dir_okay=False),
              help="draw the net here, .svg, or .dot for graphviz: a box for each step, a row for each resolution")
@as_json
def command(file, input_size, picture, as_json):
    """Say what is in FILE: a caffemodel, prototxt, safetensors, solverstate or mean.

    Of a net: generation, layers, shapes, parameters, memory, and multiply-adds at --input-size or the size it declares.

    \b
    repro inspect net.caffemodel
    repro inspect deploy.prototxt --input-size 375x500 --picture net.svg
    """
    from converters.inspect import inspect, lines

    if picture:
        _draw(file, picture)
    found = inspect(file, input_size)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))


def _draw(file, picture):
    from converters.errors import CaffeFileError
    from converters.formats.caffemodel import read_caffemodel
    from converters.formats.prototxt import read_prototxt
    from surgery.picture import write_picture

    if file.endswith((".prototxt", ".pbtxt")):
        net = read_prototxt(file)
    elif file.endswith((".safetensors", ".pt", ".solverstate", ".solverstate.h5", ".binaryproto")):
        raise CaffeFileError(file, "a picture needs a net: give a prototxt or a caffemodel")
    else:
        net = read_caffemodel(file).net
    if not any(layer.type for layer in net.layer):
        raise CaffeFileError(file, "it says nothing of its layers but their names; draw its prototxt")
    write_picture(picture, net)
    click.echo(f"wrote {picture}", err=True)
