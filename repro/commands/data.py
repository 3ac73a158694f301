"""repro data"""

import click

from repro.commands.options import existing


@click.group()
def command():
    """Look through a data set."""


@command.command()
@click.argument("data", type=existing("folder"))
@click.option("--net", default="voc-fcn8s", show_default=True, help="a net of the family whose set this is")
@click.option("--split", "splits", multiple=True, help="which list of images  [default: all that the set has]")
@click.option("--context", type=existing("folder"), help="PASCAL-Context's labels, DATA being VOC 2010")
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, for one's own data")
@click.option("--trained-on", multiple=True, type=existing("file"), help="a list, as SBD's train.txt, to find overlaps with")
def check(data, net, splits, context, classes, trained_on):
    """Read every image and label of DATA: counts, sizes, label values, class frequencies, overlaps between lists.

    Every file that is missing, unreadable or wrong is named; then the exit status is 1.
    """
    from repro.data import check as checking
    from repro.data.dataset import read_list

    lists, problems = {}, 0
    for split in splits or checking.lists_of(net, data):
        findings = checking.check(net, data, split, context=context, classes=classes)
        lists[split] = findings.ids
        problems += len(findings.problems)
        click.echo("\n".join(checking.describe(findings)))
    lists |= {path: [id for _, id in read_list(path)] for path in trained_on}
    for one, other, ids in checking.overlaps(lists):
        click.echo(f"{one} and {other} share {len(ids)} images ({ids[0]}, ...): do not score on what was trained on")
    if problems:
        raise SystemExit(1)
