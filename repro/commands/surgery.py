"""repro surgery"""

import click

from repro.commands.options import complete_net, existing, seed, width


@click.command()
@click.argument("sources", nargs=-1, required=True, type=existing("file"))
@click.option("--net", required=True, help="the net to make: a name of `repro reference`",
              shell_complete=complete_net)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help=".caffemodel or .caffemodel.h5")
@click.option("--num-classes", type=click.IntRange(1), help="[default: the source's, or as published]")
@width("the source's")
@click.option("--expand-scores", is_flag=True, help="with more classes: the old ones become the first of the new")
@click.option("--fill-missing", metavar="FILLER", help="fill layers that the source lacks, as msra or xavier do")
@seed
def command(sources, net, output, num_classes, width, expand_scores, fill_missing, seed):
    """Make the weights of a published net from those of SOURCES, layer by layer by name, and print what became of each.

    \b
    classifier to 32s   repro surgery VGG_ILSVRC_16_layers.caffemodel --net voc-fcn32s -o fcn32s.caffemodel
    fully convolutional repro surgery bvlc_googlenet.caffemodel --net googlenet-fullconv -o full.caffemodel
    finer from coarser  repro surgery fcn32s.caffemodel --net voc-fcn16s -o fcn16s.caffemodel
    at once             repro surgery VGG_ILSVRC_16_layers.caffemodel --net voc-fcn8s-atonce -o atonce.caffemodel
    color and depth     repro surgery VGG_ILSVRC_16_layers.caffemodel --net nyud-fcn32s-color-d -o rgbd.caffemodel
    color and HHA       repro surgery color.caffemodel hha.caffemodel --net nyud-fcn32s-color-hha -o both.caffemodel
    more classes        repro surgery fcn8s.caffemodel --net voc-fcn8s --num-classes 30 --expand-scores -o more.caffemodel

    Inner products become convolutions, upsampling layers interpolate, new score layers are zero.
    """
    import torch

    import reference
    from converters import CaffeNet, read_caffemodel, write_caffemodel
    from reference.nets import sizes_of
    from repro.training.initial_weights import prepare

    torch.manual_seed(seed)
    sizes = sizes_of(read_caffemodel(sources[0]).blobs)
    num_classes = num_classes or (sizes["num_classes"] if "-fcn" in net else None)
    model = CaffeNet(reference.net(net, "deploy", num_classes, width or sizes["width"]))
    click.echo(prepare(model, sources, fill_missing, expand_scores=expand_scores))
    write_caffemodel(output, model.param, model.to_blobs())
    click.echo(f"wrote {output}")
