"""repro verify"""

import json
from itertools import chain

import click

from repro.commands.options import as_json, at, existing, folder, threads

PARTS = ("facts", "released", "retrained")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@folder
@at
@click.option("--runs", default="runs", show_default=True, type=click.Path(file_okay=False),
              help="where `repro reproduce` has left its runs")
@click.option("--against", type=existing("file"),
              help="hold released weights to these scores, a JSON of `repro evaluate`, not to the published ones")
@click.option("--strict", is_flag=True, help="fail where something is skipped")
@as_json
@threads
def command(parts, folder, at, runs, against, strict, as_json):
    """Compare with the paper: ours, the paper's, the difference and the verdict, a line each.

    PARTS: facts, which need no data; released, the released weights scored again, within 0.05 percent; retrained, nets of
    --runs, within 0.5. Default: all three. What is not at hand is skipped, with the command that gets it. The exit
    status is 1 where a number differs.
    """
    from repro.data.locate import AtHand
    from repro.reproduction import compare

    scores, at_hand = compare.read_scores(against) if against else None, AtHand(folder, at)
    released = compare.released_checks(at_hand, against=scores)
    checks = {
        "facts": compare.fact_checks(),
        "released": released if against else chain(compare.set_checks(at_hand), released),
        "retrained": compare.retrained_checks(runs),
    }
    say = (lambda text: None) if as_json else click.echo
    compared = []
    say(f"{'':46} {'ours':>12} {'published':>12} {'difference':>12}  verdict")
    for part in parts or PARTS:
        say(part)
        for check in checks[part]:
            compared.append({"part": part, **check._asdict(), "difference": check.difference, "verdict": check.verdict})
            say(line(check))
    verdicts = [check["verdict"] for check in compared]
    count = {verdict: verdicts.count(verdict) for verdict in ("ok", "FAILED", "skipped", "information")}
    say(", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    if as_json:
        click.echo(json.dumps(compared, indent=2))
    if count["FAILED"] or strict and count["skipped"]:
        raise SystemExit(1)


def line(check):
    """A check as a line of the table."""
    numbers = " ".join(f"{'-' if number is None else f'{number:.7g}':>12}"
                       for number in (check.ours, check.published, check.difference))
    return f"  {check.what:44} {numbers}  {check.verdict}{f' ({check.missing})' if check.missing else ''}"
