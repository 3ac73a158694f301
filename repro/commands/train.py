"""repro train"""

from pathlib import Path

import click

from repro.commands.options import existing, seed, threads


@click.command()
@click.argument("net")
@click.option("--data", required=True, type=existing("folder"), help="a folder in VOC layout")
@click.option("--split", default="train", show_default=True, help="which list of images")
@click.option("--weights", required=True, type=existing("file"), help="caffemodel to start from")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False),
              help="folder for NET.caffemodel, the log and snapshots; where it holds a snapshot the run goes on from it")
@click.option("--iterations", type=click.IntRange(1), help="[default: as published]")
@click.option("--base-lr", type=float, help="learning rate  [default: as published]")
@click.option("--snapshot", type=click.IntRange(0), default=1000, show_default=True, help="iterations between snapshots")
@click.option("--width", default=1.0, show_default=True, help="the trunk's channels against the published net's")
@click.option("--fill-missing", metavar="FILLER", help="fill layers that the weights lack, as msra or xavier do")
@click.option("--image-scale", default=1.0, show_default=True, help="size of the images against that on disk")
@click.option("--mirror", is_flag=True, help="mirror half of the images (the paper saw no gain)")
@seed
@threads
def command(net, data, split, weights, output, iterations, base_lr, snapshot, width, fill_missing, image_scale, mirror,
            seed):
    """Train a published NET on images in VOC layout, with the release's solver."""
    import torch

    import reference
    from converters import CaffeNet, write_caffemodel
    from repro.data import Feed, open_voc
    from repro.solver import Solver
    from repro.training import prepare, train

    dataset = open_voc(data, split, scale=image_scale)
    param = reference.solver(net)
    param.base_lr = base_lr or param.base_lr
    torch.manual_seed(seed)
    model = CaffeNet(reference.net(net, "train", num_classes=dataset.num_classes, width=width), "train")
    click.echo(prepare(model, weights, fill_missing))
    with Feed(dataset, seed=1337 + seed, mirror=mirror) as feed:
        loss = train(Solver(param, model, feed), output, iterations or param.max_iter, snapshot)
    written = Path(output) / f"{net}.caffemodel"
    write_caffemodel(written, model.param, model.to_blobs())
    click.echo(f"loss a pixel {loss:.3f}; wrote {written}")
