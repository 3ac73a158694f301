"""repro report"""

import click

from repro.commands.options import existing


@click.command()
@click.argument("run", type=existing("folder"))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="where to write it  [default: RUN/report.html]")
def command(run, output):
    """Make one HTML file of RUN, the folder of a `repro reproduce`; it needs no network and nothing beside it.

    Scores beside the paper's, each class's IU, learning curves, confusion matrices, pictures with a slider that fades
    photograph, truth and labels, the images by their IU, the surgery, environment, seeds and hashes. Needs jinja2, of the
    extra `report`.

    \b
    repro report runs/voc-fcn8s -o fcn8s.html
    """
    from repro.report.page import write_report

    click.echo(f"report: {write_report(run, output)}")
