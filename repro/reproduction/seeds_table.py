"""The miniature's results over several seeds, as the table in the README: `python -m repro.reproduction.seeds_table`."""

from pathlib import Path

import click
import numpy as np

from repro.miniature.schedule import BANNER, STAGES
from repro.reproduction.job import miniature_job
from repro.reproduction.stages import reproduce

JOBS = ("voc-fcn8s", "voc-fcn32s-fixed")


@click.command(help=__doc__.splitlines()[0])
@click.option("--runs", default="runs/miniature", show_default=True, help="their folder; finished ones are not repeated")
@click.option("--seeds", default=3, show_default=True, help="how many seeds, from 0")
def main(runs, seeds):
    stages = {}
    for seed in range(seeds):
        for net in JOBS:
            folder = Path(runs) / f"{net}-seed{seed}"
            results = reproduce(miniature_job(net, folder, seed), folder)
            for stage, result in results["stages"].items():
                stages.setdefault(stage, []).append(result)
    click.echo(f"\n{BANNER}\n")
    click.echo("| miniature | " + " | ".join(f"seed {seed}" for seed in range(seeds)) + " | mean ± spread | iterations |")
    click.echo("| --- |" + " ---: |" * (seeds + 2))
    for stage in sorted(stages, key=list(STAGES).index):
        ious = [100 * result["mean_iu"] for result in stages[stage]]
        cells = [f"{iou:.1f}" for iou in ious] + [f"{np.mean(ious):.1f} ± {np.ptp(ious) / 2:.1f}",
                                                  str(stages[stage][0]["iterations"])]
        click.echo(f"| {stage} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
