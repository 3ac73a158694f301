"""repro bench"""

import click

from repro.commands.options import existing


@click.group()
def command():
    """Measure speed and memory beside other programs, as ratios within one run."""


@command.command()
@click.argument("source", required=False, type=existing("file"))
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="turns of each program")
@click.option("--megabytes", type=click.IntRange(1), default=512, show_default=True, help="size of a file made for it")
def convert(source, runs, megabytes):
    """Convert SOURCE, a caffemodel (or one made for it), beside `cp`, plain protobuf parsing and OpenCV."""
    from repro.bench.convert import bench, lines

    click.echo("\n".join(lines(*bench(source, runs, megabytes))))
