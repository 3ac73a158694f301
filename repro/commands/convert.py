"""repro convert"""

from pathlib import Path

import click

from converters.errors import CaffeError
from repro.commands.options import existing, input_size


class Numbers(click.ParamType):
    """Numbers with commas between."""

    name = "number,..."

    def convert(self, value, param, context):
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not numbers with commas between", param, context)


def output(help):
    return click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help=help)


def with_options(*options):
    def add(function):
        for option in reversed(options):
            function = option(function)
        return function

    return add


autocrop = click.option("--autocrop", is_flag=True,
                        help="give Crop layers without an offset the one that aligns them (older FCN and HED files)")
verify = click.option("--verify", is_flag=True, help="compare what was written with its source, layer by layer")
preprocessing = with_options(
    click.option("--mean", type=Numbers(), help="mean of each channel, in the net's order, subtracted from the image"),
    click.option("--mean-file", type=existing("file"), help="mean.binaryproto; the mean of each channel is taken from it"),
    click.option("--bgr/--rgb", default=None, help="the order of the channels that the net needs"),
    click.option("--scale", type=float, help="what the image is multiplied by once the mean is subtracted"),
    click.option("--classes", type=existing("file"), help="names of the classes, one a line"),
)


@click.group()
def command():
    """Turn Caffe's nets and weights into PyTorch's and back."""


@command.command()
@click.argument("source", type=existing("file"))
@click.option("--prototxt", type=existing("file"), help="the net's description, where SOURCE holds none or another")
@output("what to write, by its suffix: .safetensors, .pt, .npz, .h5, .caffemodel, .caffemodel.h5")
@click.option("--set", "replaced", multiple=True, metavar="LAYER/INDEX=FILE.npy", help="put this array in place of a blob")
@preprocessing
@input_size
@autocrop
@verify
def caffemodel(source, prototxt, output, replaced, autocrop, verify, **given):
    """Convert the weights of SOURCE, a caffemodel of any generation.

    Keys are those of CaffeNet's state_dict, "<layer>.weight" and "<layer>.bias". What is said of means, scale, channels,
    input size and classes is kept in a .safetensors. What Caffe 1.0 does not know is listed, a line each.

    \b
    repro convert caffemodel VGG_ILSVRC_16_layers.caffemodel -o vgg16.safetensors --verify
    repro convert caffemodel weights.caffemodel --prototxt deploy.prototxt -o weights.npz
    """
    from converters.pytorch.weights import check_target, read_weights, set_blob, write_weights

    check_target(output)
    copied = output.endswith((".safetensors", ".caffemodel"))  # these take bytes as they lie
    model, remarks = read_weights(source, prototxt, aligned=not copied)
    for setting in replaced:
        place, equals, path = setting.partition("=")
        if not equals:
            raise CaffeError(f"--set {setting}: give LAYER/INDEX=FILE.npy")
        set_blob(model, place, path)
    if autocrop:
        remarks += _autocrop(model.net)
    for line in remarks:
        click.echo(line, err=True)
    write_weights(output, model, _preprocessing(**given))
    count = sum(array.size for arrays in model.blobs.values() for array in arrays)
    click.echo(f"{source} ({model.generation}): {len(model.blobs)} layers, {count} numbers -> {output}")
    if verify:
        from converters.verify import verify_weights

        _tell(verify_weights(model, output, given["input_size"]))


@command.command()
@click.argument("checkpoint", type=existing("file"))
@click.option("--prototxt", required=True, type=existing("file"), help="the net that the checkpoint is of")
@output("what to write: .caffemodel or .caffemodel.h5")
@autocrop
@verify
def pytorch(checkpoint, prototxt, output, autocrop, verify):
    """Convert CHECKPOINT, a .safetensors or .pt with the keys of CaffeNet's state_dict, to weights that Caffe loads.

    \b
    repro convert pytorch net.safetensors --prototxt deploy.prototxt -o net.caffemodel
    """
    from converters.formats.caffemodel import Caffemodel, write_caffemodel
    from converters.net import CaffeNet
    from converters.pytorch.weights import blobs_of, read_checkpoint

    if not output.endswith((".caffemodel", ".h5")):
        raise CaffeError(f"{output}: Caffe's weights are written as .caffemodel or .caffemodel.h5")
    net = _read_net(prototxt, autocrop)
    caffe = CaffeNet(net)
    blobs = blobs_of(caffe, read_checkpoint(checkpoint), checkpoint)
    write_caffemodel(output, caffe.param, blobs)
    click.echo(f"{checkpoint}: {len(blobs)} layers -> {output}")
    if verify:
        from converters.verify import verify_weights

        _tell(verify_weights(Caffemodel(caffe.param, blobs), output))


@command.command()
@click.argument("source", type=existing("file"))
@output("what to write: NET.py, PyTorch's source, or NET.prototxt, the description in today's format")
@input_size
@autocrop
@verify
def prototxt(source, output, input_size, autocrop, verify):
    """Write the net that SOURCE, a prototxt of any generation, describes as a PyTorch module of its own.

    NET.py needs only torch, and loads its weights from the NET.safetensors beside it.

    \b
    repro convert prototxt deploy.prototxt -o net.py --verify
    repro convert prototxt old.prototxt -o new.prototxt
    """
    net = _read_net(source, autocrop)
    if output.endswith(".prototxt"):
        from converters.formats.prototxt import write_prototxt

        write_prototxt(output, net)
    elif output.endswith(".py"):
        from converters.pytorch.module_source import write_module

        write_module(output, net, input_size)
    else:
        raise CaffeError(f"{output}: a net is written as .py or .prototxt")
    click.echo(f"{source}: {len(net.layer)} layers -> {output}")
    if verify:
        from converters.verify import verify_module

        _tell(verify_module(net, output, input_size))


@command.command()
@click.argument("source", type=existing("file"))
@click.option("--prototxt", required=True, type=existing("file"), help="the net that the weights are of")
@output("what to write: NET.onnx")
@click.option("--preprocess", is_flag=True,
              help="put mean, scale and channel order into the graph: its input is then an RGB image of values 0 to 255")
@preprocessing
@input_size
@autocrop
@verify
def onnx(source, prototxt, output, preprocess, autocrop, verify, **given):
    """Write the net and the weights of SOURCE, a caffemodel or a .safetensors, as ONNX.

    What is said of the input, here or in the .safetensors, is put into the graph with --preprocess. Needs the extra `onnx`.

    \b
    repro convert onnx net.caffemodel --prototxt deploy.prototxt -o net.onnx --verify
    """
    from converters.formats.caffemodel import read_caffemodel
    from converters.net import CaffeNet
    from converters.pytorch.onnx import write_onnx
    from converters.pytorch.preprocessing import read_metadata
    from converters.pytorch.weights import blobs_of, read_checkpoint

    if not output.endswith(".onnx"):
        raise CaffeError(f"{output}: ONNX is written as .onnx")
    net = _read_net(prototxt, autocrop)
    if source.endswith((".safetensors", ".pt")):
        blobs = blobs_of(CaffeNet(net), read_checkpoint(source), source)
    else:
        blobs = read_caffemodel(source).blobs
    known = _preprocessing(kept=read_metadata(source), **given)
    write_onnx(output, net, blobs, known.input_size, known if preprocess else None)
    click.echo(f"{source}: {len(net.layer)} layers -> {output}")
    if verify:
        from converters.verify import verify_onnx

        _tell(verify_onnx(net, blobs, output, known.input_size, known if preprocess else None))


def _preprocessing(mean, mean_file, bgr, scale, input_size, classes, kept=None):
    """The `Preprocessing` that the options give; what they leave out is taken from `kept`."""
    from dataclasses import replace

    from converters.pytorch.preprocessing import Preprocessing, mean_of

    if mean and mean_file:
        raise CaffeError("give --mean or --mean-file, not both")
    if classes:
        try:
            classes = tuple(Path(classes).read_text(encoding="utf-8").splitlines())
        except UnicodeDecodeError:
            raise CaffeError(f"{classes}: is not text in UTF-8; --classes needs one name a line") from None
    given = {"mean": mean_of(mean_file) if mean_file else mean, "scale": scale, "input_size": input_size, "classes": classes,
             "channels": None if bgr is None else ("rgb", "bgr")[bgr]}
    return replace(kept or Preprocessing(), **{name: value for name, value in given.items() if value is not None})


def _read_net(path, autocrop):
    """The net in a prototxt; what Caffe 1.0 does not know of it is listed on standard error."""
    from converters.formats.prototxt import read_prototxt

    unknown = []
    net = read_prototxt(path, unknown)
    for line in [f"not known to Caffe 1.0: {line}" for line in unknown] + (_autocrop(net) if autocrop else []):
        click.echo(line, err=True)
    return net


def _autocrop(net):
    from surgery.autocrop import autocrop

    return [f"autocrop: layer '{name}' crops at {offset}" for name, offset in autocrop(net).items()]


def _tell(report):
    """Print a verification; differences beyond its tolerance end the command."""
    for line in report.lines():
        click.echo(line)
    report.check()
