"""repro data"""

import json

import click

from repro.commands.options import as_json, complete_net, existing


@click.group()
def command():
    """Look through a data set."""


@command.command()
@click.argument("data", type=existing("folder"))
@click.option("--net", default="voc-fcn8s", show_default=True, help="a net of the family whose set this is",
              shell_complete=complete_net)
@click.option("--split", "splits", multiple=True, help="which list of images  [default: all that the set has]")
@click.option("--context", type=existing("folder"), help="PASCAL-Context's labels, DATA being VOC 2010")
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, for one's own data")
@click.option("--trained-on", multiple=True, type=existing("file"), help="a list, as SBD's train.txt, to find overlaps with")
@as_json
def check(data, net, splits, context, classes, trained_on, as_json):
    """Read every image and label of DATA: counts, sizes, label values, class frequencies, overlaps between lists.

    Every file that is missing, unreadable or wrong is named; then the exit status is 1.
    """
    from repro.data import check as checking
    from repro.data.dataset import read_list

    walked = []
    for split in splits or checking.lists_of(net, data):
        walked.append(checking.check(net, data, split, context=context, classes=classes))
        if not as_json:
            click.echo("\n".join(checking.describe(walked[-1])))
    lists = {findings.split: findings.ids for findings in walked}
    lists |= {path: [id for _, id in read_list(path)] for path in trained_on}
    overlaps = checking.overlaps(lists)
    if as_json:
        shared = [{"lists": [one, other], "ids": ids} for one, other, ids in overlaps]
        click.echo(json.dumps({"lists": [checking.as_dict(findings) for findings in walked], "overlaps": shared}, indent=2))
    else:
        for one, other, ids in overlaps:
            click.echo(f"{one} and {other} share {len(ids)} images ({ids[0]}, ...): do not score on what was trained on")
    if any(findings.problems for findings in walked):
        raise SystemExit(1)
