"""repro convert"""

import click

from repro.commands.options import existing


@click.group()
def command():
    """Turn Caffe's weights into PyTorch's and back."""


@command.command()
@click.argument("source", type=existing("file"))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False),
              help="what to write, by its suffix: .safetensors, .pt, .npz, .h5, .caffemodel, .caffemodel.h5")
def caffemodel(source, output):
    """Convert the weights of SOURCE, a caffemodel of any generation.

    Keys are those of CaffeNet's state_dict, "<layer>.weight" and "<layer>.bias".
    """
    from converters.export import convert_weights

    model = convert_weights(source, output)
    for line in model.unknown:
        click.echo(f"not known to Caffe 1.0: {line}", err=True)
    count = sum(array.size for arrays in model.blobs.values() for array in arrays)
    click.echo(f"{source} ({model.generation}): {len(model.blobs)} layers, {count} numbers -> {output}")
