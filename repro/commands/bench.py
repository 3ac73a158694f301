"""repro bench"""

import json

import click

from repro.commands.options import Size, as_json, existing, threads
from repro.extras import require

trunk_width = click.option("--width", type=float, default=1.0, show_default=True,
                           help="channels of the trunk, as a share of the published net's")


@click.group()
def command():
    """Measure speed and memory beside other programs, as ratios within one run."""


@command.command()
@click.argument("source", required=False, type=existing("file"))
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="turns of each program")
@click.option("--megabytes", type=click.IntRange(1), default=512, show_default=True,
              help="size of the file that is made where no SOURCE is given")
@as_json
def convert(source, runs, megabytes, as_json):
    """Convert SOURCE, a caffemodel (or one made for it), beside `cp`, plain protobuf parsing and OpenCV.

    \b
    repro bench convert --megabytes 64
    """
    from repro.bench.convert import bench, lines

    size, measured, failed = bench(source, runs, megabytes)
    _tell(as_json, {"bytes": size, "programs": _rows(measured), "failed": failed}, lines(size, measured, failed))


@command.command()
@click.option("--net", default="voc-fcn8s", show_default=True, help="a published net, filled with random weights")
@click.option("--size", "sizes", type=Size(), multiple=True, default=["375x500"], show_default=True,
              help="height and width of the image; may be given several times")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="turns of each program")
@trunk_width
@click.option("--peers/--no-peers", default=True, help="also OpenCV and torchfcn, where `make peers` installed them")
@click.option("--plot", type=click.Path(dir_okay=False), help="draw time and memory against the size here (.png)")
@as_json
@threads
def infer(net, sizes, runs, width, peers, plot, as_json):
    """Label an image by the fast path and the plain net, beside OpenCV and torchfcn: time and memory.

    \b
    repro bench infer --size 375x500 --threads 2
    repro bench infer --size 125x125 --size 250x250 --width 0.125 --plot growth.png
    """
    from repro.bench import growth
    from repro.bench.infer import bench, lines

    if plot:
        require("report", "--plot", "matplotlib")
    if plot and len(sizes) < 2:
        raise click.UsageError("--plot needs several sizes: --size 125x125 --size 250x250 ...")
    results, rows = [], []
    for size, (measured, limits) in zip(sizes, bench(net, sizes, runs, width, peers), strict=True):
        if not as_json:
            click.echo(f"{net}, {size[0]}x{size[1]}")
            click.echo("\n".join(lines(measured, limits)))
        results.append(measured)
        rows.append({"size": size, "programs": _rows(measured), "limits": limits})
    if as_json:
        click.echo(json.dumps({"net": net, "sizes": rows}, indent=2))
    elif len(sizes) > 1:
        click.echo("\n".join(growth.lines(sizes, results)))
    if plot:
        growth.draw(plot, sizes, results)


@command.command()
@click.option("--size", type=Size(), default="375x500", show_default=True, help="height and width of the image")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="iterations of each program")
@trunk_width
@click.option("--peers/--no-peers", default=True, help="also torchfcn, where `make peers` installed it")
@as_json
@threads
def train(size, runs, width, peers, as_json):
    """One training iteration of voc-fcn8s, beside torchfcn: time and memory.

    \b
    repro bench train --size 375x500 --threads 2
    """
    import torch

    from repro.bench.contestants import table
    from repro.bench.train import bench

    measured = bench(size, runs, torch.get_num_threads(), width, peers)
    title = f"voc-fcn8s, {size[0]}x{size[1]}, one training iteration"
    _tell(as_json, {"size": size, "programs": _rows(measured)}, [title, *table(measured)])


@command.command()
@click.option("--size", type=Size(), default="375x500", show_default=True, help="height and width of the photographs")
@click.option("--images", type=click.IntRange(1), default=8, show_default=True, help="how many photographs")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="turns of each program")
@trunk_width
@click.option("--peers/--no-peers", default=True, help="also OpenCV and torchfcn, where `make peers` installed them")
@as_json
@threads
def evaluate(size, images, runs, width, peers, as_json):
    """Label and score a folder of photographs by voc-fcn8s, beside labelling alone, OpenCV and torchfcn.

    \b
    repro bench evaluate --images 4 --threads 2
    """
    import torch

    from repro.bench.evaluate import bench, lines

    measured = bench(size, images, runs, torch.get_num_threads(), width, peers)
    title = f"voc-fcn8s, {images} photographs of {size[0]}x{size[1]}"
    _tell(as_json, {"size": size, "images": images, "programs": _rows(measured)}, [title, *lines(measured, images)])


def _rows(measured):
    """Measurements, ready for JSON, with their medians and without what the programs made."""
    return [{name: value for name, value in one._asdict().items() if name != "results"} | {"seconds": one.seconds}
            for one in measured]


def _tell(as_json, found, lines):
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines))
