"""repro reference"""

import json

import click

from repro.commands.options import Size, as_json, complete_net, width


class Reference(click.Group):
    """`repro reference NAME` is short for `repro reference show NAME`."""

    def resolve_command(self, context, args):
        return super().resolve_command(context, args if args[0] in self.commands else ["show", *args])


name = click.argument("name", shell_complete=complete_net)
classes = click.option("--num-classes", type=click.IntRange(1), help="[default: as published]")


@click.group(cls=Reference, invoke_without_command=True)
@as_json
@click.pass_context
def command(context, as_json):
    """Show the published nets: `repro reference` lists them, `repro reference NAME` shows one as a table."""
    if context.invoked_subcommand is not None:
        return
    import reference

    published = {net: reference.paper.scores(net) for net in reference.names()}
    if as_json:
        click.echo(json.dumps(published, indent=2))
        return
    for net, scores in published.items():
        click.echo(f"{net:24} mean IU {scores['mean_iu']}" if scores else net)


@command.command()
@name
@click.option("--size", type=Size(), help="of the image  [default: 500x500, a classifier's own]")
@as_json
@classes
@width("1")
def show(name, size, as_json, num_classes, width):
    """The layers of a net: windows, output size, receptive field, parameters, multiply-adds.

    \b
    repro reference voc-fcn8s --size 375x500
    """
    import reference
    from reference.describe import describe, format_table

    rows = describe(reference.net(name, "deploy", num_classes, width or 1), size)
    click.echo(json.dumps([row._asdict() for row in rows], indent=1) if as_json else format_table(rows))


@command.command()
@name
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help=".svg, or .dot for graphviz")
@classes
def picture(name, output, num_classes):
    """Draw a published net, as `repro inspect --picture` draws any net: a box for each step, a row for each resolution.

    \b
    repro reference picture voc-fcn8s -o fcn8s.svg
    """
    import reference
    from surgery.picture import write_picture

    write_picture(output, reference.net(name, "deploy", num_classes))
    click.echo(f"wrote {output}")


@command.command()
@name
@click.argument("folder", type=click.Path(file_okay=False))
@classes
@width("1")
def export(name, folder, num_classes, width):
    """Write a net's prototxts into FOLDER as the release has them, for real Caffe and for `repro train`.

    \b
    repro reference export voc-fcn32s voc-fcn32s
    repro train voc-fcn32s/solver.prototxt --weights fcn32s-start.caffemodel
    """
    from reference.export import export

    for path in export(name, folder, num_classes, width or 1):
        click.echo(f"wrote {path}")
