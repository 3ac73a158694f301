"""repro doctor"""

import json

import click

from repro.commands.options import as_json, at, folder


@click.command()
@folder
@at
@as_json
def command(folder, at, as_json):
    """Say which versions, threads and devices there are, and where data and weights were looked for and found.

    Put what it prints into a bug report.

    \b
    repro doctor --folder data --at sbd=/mnt/sets/benchmark_RELEASE/dataset
    """
    from repro.data.locate import AtHand
    from repro.doctor import diagnose, lines

    found = diagnose(AtHand(folder, at))
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
