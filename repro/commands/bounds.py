"""repro bounds"""

import json

import click

from repro.commands.options import as_json, complete_net, existing, threads

METHODS = ("nearest", "majority")


@click.command()
@click.argument("data", type=existing("folder"))
@click.option("--net", default="voc-fcn8s", show_default=True, help="a net of the family whose set this is",
              shell_complete=complete_net)
@click.option("--split", help="which list of images  [default: the published one, such as seg11valid]")
@click.option("--context", type=existing("folder"), help="PASCAL-Context's labels, DATA being VOC 2010")
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, for one's own data")
@click.option("--method", type=click.Choice(METHODS), multiple=True, help="[default: both]")
@click.option("--limit", type=click.IntRange(1), help="take only so many images")
@as_json
@threads
def command(data, net, split, context, classes, method, limit, as_json):
    """The mean IU of the truth sampled down and up again: what labels of a coarser grid can reach at best.

    DATA is a data set, or a folder of label PNGs alone. Beside VOC's seg11valid stand the paper's numbers. It does not say
    how it resized, so there are two methods. nearest: every cell takes the label in its middle, and pixels that of their
    cell. majority: every cell takes its commonest label, and these are upsampled bilinearly, as a net's scores are. Sizes
    are rounded; void is left out of the score.
    """
    from reference.families import VOC
    from reference.paper import UPPER_BOUNDS
    from repro.data.published import is_published_set, open_data
    from repro.scoring.upper_bounds import upper_bounds

    dataset = open_data(net, data, split, context=context, classes=classes, limit=limit)
    ours = {name: upper_bounds(dataset, name) for name in method or METHODS}
    beside = net in VOC.nets and is_published_set(net, dataset)
    if as_json:
        published = UPPER_BOUNDS if beside else None
        click.echo(json.dumps({"images": len(dataset), "published": published, "mean_iu": ours}, indent=2))
        return
    click.echo(f"mean IU of labels sampled down and up again, {len(dataset)} images")
    if not beside:
        click.echo(f"{'factor':>6}" + "".join(f"{name:>10}" for name in ours))
        for factor in UPPER_BOUNDS:
            click.echo(f"{factor:6}" + "".join(f"{100 * bounds[factor]:10.1f}" for bounds in ours.values()))
        return
    click.echo(f"{'factor':>6} {'the paper':>10}" + "".join(f"{name:>10} {'':>8}" for name in ours))
    for factor, published in UPPER_BOUNDS.items():
        cells = "".join(f"{100 * bounds[factor]:10.1f} ({100 * bounds[factor] - published:+.1f})".ljust(19)
                        for bounds in ours.values())
        click.echo(f"{factor:6} {published:10.1f}{cells}".rstrip())
    click.echo("The paper took a subset of VOC 2011's val and does not say how it resized: expect differences.")
