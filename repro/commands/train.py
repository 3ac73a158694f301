"""repro train"""

from pathlib import Path

import click

from converters.errors import CaffeError
from repro.commands.options import complete_net, existing, seed, threads

OF_THE_SOLVER = ("data", "split", "width", "image_scale", "mirror")  # what a directory's prototxts say, not options


@click.command()
@click.argument("net", metavar="NET|SOLVER.PROTOTXT", shell_complete=complete_net)
@click.option("--weights", required=True, multiple=True, type=existing("file"),
              help="caffemodel to start from; color's and then HHA's for nyud-fcn32s-color-hha")
@click.option("--data", type=existing("folder"), help="a folder in VOC layout, for a NET")
@click.option("--split", default="train", show_default=True, help="which list of images")
@click.option("-o", "--output", type=click.Path(file_okay=False),
              help="folder for NET.caffemodel, the log and snapshots; where it holds a snapshot the run goes on from it  "
                   "[default: runs/NET, or runs/ and the name of the solver's folder]")
@click.option("--iterations", type=click.IntRange(1), help="[default: the solver's max_iter]")
@click.option("--base-lr", type=float, help="learning rate  [default: the solver's]")
@click.option("--snapshot", type=click.IntRange(0), help="iterations between snapshots  [default: the solver's, or 1000]")
@click.option("--width", type=float, help="the trunk's channels against the published net's  [default: the weights']")
@click.option("--fill-missing", metavar="FILLER", help="fill layers that the weights lack, as msra or xavier do")
@click.option("--no-interp", is_flag=True, help="leave the upsampling layers as the weights have them")
@click.option("--image-scale", default=1.0, show_default=True, help="size of the images against that on disk")
@click.option("--mirror", is_flag=True, help="mirror half of the images (the paper saw no gain)")
@seed
@threads
@click.pass_context
def command(context, net, weights, data, split, output, iterations, base_lr, snapshot, width, fill_missing, no_interp,
            image_scale, mirror, seed):
    """Train a published NET on images in VOC layout, or what a SOLVER.PROTOTXT of the release says.

    A solver's directory is run unchanged: its Python data layers (voc_layers, nyud_layers, siftflow_layers,
    pascalcontext_layers) are known by name, and relative paths are seen from the working directory, else from the solver's
    folder. The upsampling layers are set to interpolate first, as the release's solve.py does.
    """
    import torch

    from converters import write_caffemodel
    from repro.solver import Solver
    from repro.training import prepare, train

    torch.manual_seed(seed)
    if net.endswith(".prototxt"):
        given = [name for name in OF_THE_SOLVER if context.get_parameter_source(name).name != "DEFAULT"]
        if given:
            raise CaffeError(f"--{given[0].replace('_', '-')} is for a published net: {net} says what it trains on")
        from repro.release import open_release

        param, model, feed = open_release(net)
        name = Path(net).absolute().parent.name
    else:
        if data is None:
            raise CaffeError(f"'{net}' wants --data, a folder in VOC layout; or give the path of a solver.prototxt")
        param, model, feed = _published(net, weights, data, split, width, image_scale, mirror, seed)
        name = net
    param.base_lr = base_lr or param.base_lr
    output = Path(output or f"runs/{name}")
    click.echo(prepare(model, weights, fill_missing, interpolate=not no_interp))
    with feed:
        loss = train(Solver(param, model, feed), output, iterations or param.max_iter,
                     param.snapshot or 1000 if snapshot is None else snapshot)
    written = output / f"{name}.caffemodel"
    write_caffemodel(written, model.param, model.to_blobs())
    click.echo(f"loss a pixel {loss:.3f}; wrote {written}")


def _published(net, weights, data, split, width, image_scale, mirror, seed):
    import reference
    from converters import CaffeNet, read_caffemodel
    from reference.sizes import sizes_of
    from repro.data import Feed, open_voc

    dataset, param = open_voc(data, split, scale=image_scale), reference.solver(net)
    width = width or sizes_of(read_caffemodel(weights[0]).blobs)["width"]
    model = CaffeNet(reference.net(net, "train", num_classes=dataset.num_classes, width=width), "train")
    return param, model, Feed(dataset, seed=1337 + seed, mirror=mirror)
