"""repro train"""

import os
from pathlib import Path

import click

from converters.errors import CaffeError, instead
from converters.files import did_you_mean_file
from reference.schemes import STAGING
from repro.commands.options import complete_net, existing, scheme, seed, threads, width

# What a directory's prototxts say, not options.
OF_THE_SOLVER = ("data", "split", "test_split", "width", "image_scale", "mirror", "jitter", "scheme")


@click.command()
@click.argument("net", metavar="NET|SOLVER.PROTOTXT", shell_complete=complete_net)
@click.option("--weights", multiple=True, type=existing("file"),
              help="caffemodel to start from; color's and then HHA's for nyud-fcn32s-color-hha  [default: the solver's]")
@click.option("--data", type=existing("folder"), help="a folder in VOC layout, for a NET")
@click.option("--split", default="train", show_default=True, help="which list of images")
@click.option("--test-split", help="which list is scored in between  [default: val, where there is one]")
@click.option("-o", "--output", type=click.Path(file_okay=False),
              help="folder for NET.caffemodel, the log and snapshots  [default: runs/NET, or runs/ and the name of the "
                   "solver's folder]")
@click.option("--resume", is_flag=True, help="go on from the newest snapshot in the folder; start where there is none")
@click.option("--snapshot", type=existing("file"),
              help="go on from this snapshot, also Caffe's: .safetensors, .solverstate, .solverstate.h5")
@click.option("--snapshot-every", type=click.IntRange(0), metavar="N",
              help="iterations between snapshots  [default: the solver's, or 1000]")
@click.option("--test-interval", type=click.IntRange(0), metavar="N",
              help="iterations between scores, 0 for none  [default: the solver's, or a round of the release's]")
@click.option("--iterations", type=click.IntRange(1), help="[default: the solver's max_iter]")
@click.option("--base-lr", type=float, help="learning rate  [default: the solver's]")
@click.option("--iter-size", type=click.IntRange(1), help="passes per iteration, of each process  [default: the solver's]")
@scheme(*STAGING)
@width("the weights'")
@click.option("--fill-missing", metavar="FILLER", help="fill layers that the weights lack, as msra or xavier do")
@click.option("--no-interp", is_flag=True, help="leave the upsampling layers as the weights have them")
@click.option("--image-scale", default=1.0, show_default=True, help="size of the images against that on disk")
@click.option("--mirror", is_flag=True, help="mirror half of the images (the paper saw no gain)")
@click.option("--jitter", type=click.IntRange(0), default=0, metavar="PIXELS",
              help="move images by up to so many pixels (32 in the paper, to no gain)")
@click.option("--device", type=click.Choice(["cpu", "cuda", "mps"]), default="cpu", show_default=True,
              help="where to compute; only cpu has been tested")
@click.option("--amp", type=click.Choice(["bf16"]), help="compute in bfloat16 autocast, all but the losses")
@click.option("--tf32", is_flag=True, help="allow TF32 matrix products and convolutions on the GPU")
@click.option("--no-deterministic", is_flag=True, help="allow faster sums on the GPU, which differ from run to run")
@seed
@threads
@click.pass_context
def command(context, net, weights, output, resume, snapshot, snapshot_every, test_interval, iterations, base_lr, iter_size,
            scheme, fill_missing, no_interp, device, amp, tf32, no_deterministic, seed, **data):
    """Train a published NET on images in VOC layout, or what a SOLVER.PROTOTXT of the release says.

    A solver's directory is run unchanged: its Python data layers (voc_layers, nyud_layers, siftflow_layers,
    pascalcontext_layers) are known by name, and relative paths are seen from the working directory, else from the solver's
    folder. The upsampling layers are set to interpolate first, as the release's solve.py does.

    On several processors or machines: `torchrun --nproc-per-node N -m repro train ...`. N processes of --iter-size K do what
    one does with N times K. Ctrl-C ends a run after a snapshot.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuda's sums are not repeatable

    import torch

    from repro import distributed
    from repro.training import schemes
    from repro.training.loop import say
    from repro.training.run import directory, published_on_folder, use

    is_directory = net.endswith(".prototxt")
    _check(context, net, is_directory, scheme, base_lr, snapshot, data["data"])
    with distributed.process_group(device):
        device = use(device, tf32, not no_deterministic)
        name = Path(net).absolute().parent.name if is_directory else net
        output = Path(output or f"runs/{name}")
        stages = [name] if is_directory else schemes.stages(scheme, net)
        for stage in stages:
            torch.manual_seed(seed)
            folder = output / stage if len(stages) > 1 else output
            written = output / f"{stage}.caffemodel"
            if is_directory:
                run, its_weights = directory(net, folder, base_lr)
                weights = weights or its_weights
            else:
                run = published_on_folder(stage, folder=folder, weights=weights, names=scheme, base_lr=base_lr, seed=seed,
                                          **data)
            run.param.iter_size = iter_size or run.param.iter_size
            if test_interval is not None:
                run.score_each(test_interval)
            report = run.start(weights, folder, snapshot, resume, fill_missing=fill_missing, interpolate=not no_interp)
            if report:
                say(str(report))
            loss = run.go(folder, iterations or run.param.max_iter,
                          run.param.snapshot or 1000 if snapshot_every is None else snapshot_every,
                          device, amp is not None, snapshot)
            run.write(written)
            say(f"loss per pixel {loss:.3f}; wrote {written}")
            weights = [written]


def _check(context, net, is_directory, scheme, base_lr, snapshot, data):
    import reference

    given = [name for name in OF_THE_SOLVER if context.get_parameter_source(name).name != "DEFAULT"]
    if is_directory and given:
        raise CaffeError(f"--{given[0].replace('_', '-')} is for a published net: {net} says what it trains on")
    if is_directory and not Path(net).is_file():
        raise CaffeError(f"{net}: no such file{did_you_mean_file(net)}")
    if not is_directory and net not in reference.names():
        raise CaffeError(f"no net '{net}'{instead(net, reference.names())}")
    if not is_directory and data is None:
        raise CaffeError(f"'{net}' needs --data, a folder in VOC layout; or give the path of a solver.prototxt")
    if "staged" in scheme and (base_lr or snapshot):
        raise CaffeError(f"--{'base-lr' if base_lr else 'snapshot'} is one net's, but --scheme staged trains several: leave "
                         "one of them out")
