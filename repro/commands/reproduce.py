"""repro reproduce"""

from pathlib import Path

import click

from converters.errors import CaffeError
from repro.commands.options import complete_net, existing, scheme, seed, threads, width


class PerStage(click.ParamType):
    """One number for all stages, or one for each with commas between."""

    def __init__(self, number):
        self.number, self.name = number, f"{number.__name__}[,...]"

    def convert(self, value, param, context):
        try:
            return [self.number(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"'{value}' is not a number for all stages, or one for each with commas between", param, context)


@click.command()
@click.argument("net", default="voc-fcn8s", shell_complete=complete_net)
@click.option("-o", "--output", type=click.Path(file_okay=False), help="folder of the run  [default: runs/NET]")
@click.option("--run", "old_output", type=click.Path(file_okay=False), hidden=True)  # what -o was called once
@click.option("--data", type=existing("folder"),
              help="the net's published set, such as VOC2011; or one's own in VOC layout with a classes.txt")
@click.option("--sbd", type=existing("folder"), help="SBD's benchmark_RELEASE/dataset, which VOC's nets are trained on")
@click.option("--context", type=existing("folder"), help="PASCAL-Context's labels, --data being VOC2010")
@click.option("--weights", type=existing("file"), help="the classifier's caffemodel (VGG_ILSVRC_16_layers.caffemodel)")
@click.option("--iterations", type=PerStage(int), help="iterations a stage  [default: as published]")
@click.option("--base-lr", type=PerStage(float), help="learning rate of a stage  [default: as published]")
@width("the weights'")
@click.option("--fill-missing", metavar="FILLER", help="fill layers that the weights lack, as msra or xavier do")
@click.option("--image-scale", default=1.0, show_default=True, help="size of the images against that on disk")
@click.option("--mirror", is_flag=True, help="mirror half of the training images (the paper saw no gain)")
@scheme()
@click.option("--limit", type=int, help="score only so many validation images")
@click.option("--force", is_flag=True, help="score images that are trained on too")
@seed
@threads
def command(net, output, old_output, data, sbd, context, weights, iterations, base_lr, seed, scheme, **options):
    """Train NET (default: voc-fcn8s) and the nets it starts from, and score each; the paper's set beside its numbers.

    With no data at hand this is the miniature: pictures drawn for it, nets of an eighth of the width, a few minutes. Its
    numbers are never the paper's. With --data, --sbd and --weights it is the paper's job in full; so it is with --data and
    --weights for the nyud, siftflow and pascalcontext nets (and --context).

    Results, a report, a figure, logs and weights are in the run's folder. Interrupted and called again, it goes on.

    On several processors: `torchrun --nproc-per-node N -m repro reproduce ... -o FOLDER`. N processes share the passes of an
    iteration; where it has fewer, each process does one, and an iteration has N images.
    """
    from reference.solvers import stages_of
    from repro import distributed
    from repro.reproduction.job import miniature_job, real_job
    from repro.reproduction.stages import reproduce

    click.get_current_context().with_resource(distributed.process_group())
    folder = Path(output or old_output or f"runs/{net}")
    stages = stages_of(net)
    overrides = {"iterations": _per_stage(iterations, stages, "--iterations"),
                 "base_lr": _per_stage(base_lr, stages, "--base-lr")}
    if data or sbd or weights or context:
        job = real_job(net, data, sbd, weights, context, seed=seed, schemes=scheme, **overrides, **options)
    else:
        for name, value in {**options, "scheme": scheme}.items():
            if value not in (None, False, 1.0, ()):
                raise CaffeError(f"--{name.replace('_', '-')} is for one's own data: give --data and --weights too")
        job = miniature_job(net, folder, seed, **overrides)
    reproduce(job, folder)
    if distributed.rank() == 0:
        made = {"results": folder / "results.json", "figure": folder / "figure.png", "report": folder / "report.html"}
        click.echo("   ".join(f"{name}: {path}" for name, path in made.items() if path.exists()))


def _per_stage(values, stages, option):
    if values is None:
        return {}
    if len(values) not in (1, len(stages)):
        raise CaffeError(f"{option} has {len(values)} numbers for {len(stages)} stages ({', '.join(stages)})")
    return dict(zip(stages, values * len(stages) if len(values) == 1 else values, strict=True))
