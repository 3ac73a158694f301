"""repro serve"""

import secrets

import click

from converters.errors import CaffeError
from repro.commands.options import Named, at, existing, folder, threads
from repro.extras import require

SHOWN = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")
MIB = 1 << 20


@click.command()
@click.argument("run", required=False, type=existing("folder"))
@click.option("--weights", multiple=True, type=Named("NET=FILE"), help="a net and its caffemodel; several may be given")
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, where they are not the published")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free")
@click.option("--most", default=20, show_default=True, type=click.IntRange(1, 1000), metavar="MIB", help="largest upload")
@click.option("--side", default=500, show_default=True, type=click.IntRange(32), metavar="PIXELS",
              help="larger photographs are made smaller, to this longest side")
@folder
@at
@threads
def command(run, weights, classes, host, port, most, side, folder, at):
    """Show a page on this machine that labels the photographs dropped on it, with 32s, 16s and 8s side by side.

    The nets are those of RUN, the folder of a `repro reproduce`; else those of --weights; else what `repro fetch` has put
    in --folder of voc-fcn32s, voc-fcn16s and voc-fcn8s. Only programs of this machine reach the page. --host lets others
    reach it, if they have the address with its token.

    \b
    repro serve runs/voc-fcn8s
    repro serve --weights voc-fcn8s=fcn8s-heavy-pascal.caffemodel --port 0
    """
    require("serve", "the page")
    from repro.serve.server import LOOPBACK, application, listen

    labeller, note = _labeller(run, weights, classes, side, folder, at)
    token = None if host in LOOPBACK else secrets.token_urlsafe(16)
    server = listen(application(labeller, most * MIB, note, token), host, port, most * MIB)
    address = f"http://{f'[{host}]' if ':' in host else host}:{server.effective_port}/{f'?token={token}' if token else ''}"
    click.echo(f"{address} labels by {', '.join(labeller.nets)}; Ctrl-C ends it")
    server.run()


def _labeller(run, weights, classes, side, folder, at):
    """(Labeller, what the page is to say loudly)."""
    import repro
    from repro.data.locate import AtHand
    from repro.inference.segmentation import classes_of
    from repro.miniature.schedule import BANNER
    from repro.report.run import read_run
    from repro.serve.labeller import Labeller

    if run and weights:
        raise CaffeError("give the folder of a run or --weights, not both")
    note = ""
    if run:
        found = read_run(run)
        note = BANNER if found.is_miniature else ""
        nets = {stage.net: repro.load(stage.net, f"{run}/{stage.net}.caffemodel") for stage in found.stages}
        return Labeller(nets, {stage.net: stage.evaluation[found.heads[0]]["classes"] for stage in found.stages}, side), note
    at_hand = AtHand(folder, at)
    files = dict(weights) or {net: path for net in SHOWN if (path := at_hand.find(net))}
    if not files:
        raise CaffeError(f"{at_hand.missing(*SHOWN)}; or give a run's folder, or --weights NET=FILE")
    nets = {net: repro.load(net, path) for net, path in files.items()}
    return Labeller(nets, {name: classes_of(net, classes) for name, net in nets.items()}, side), note
