"""The miniature's classifier: a VGG16 of an eighth of the width, trained on single drawn objects.

`python -m repro.miniature.classifier` makes the caffemodel that the miniature starts from. It is kept in the project in the
V1 format of 2014, as the original VGG16 is, so that a run of the miniature starts where a real one does.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from tqdm import tqdm

import reference
from converters import CaffeNet
from converters.caffe_pb2 import BlobProto, NetParameter, V1LayerParameter
from converters.files import written_whole
from converters.upgrade import v2_type
from reference.means import VOC
from repro.images import preprocess
from repro.miniature.draw import CLASSES, draw_single
from repro.solver import Solver

WIDTH = 1 / 8
OBJECTS = CLASSES[1:]
WEIGHTS = Path(__file__).parent / "vgg16-eighth.caffemodel"
SIZE, CANVAS = 128, 224  # a drawn object's picture, and the classifier's input, in pixels
SOLVER = 'type: "Adam" base_lr: 0.0002 momentum: 0.9 weight_decay: 0.0001 lr_policy: "step" gamma: 0.2 average_loss: 50'


def describe(phase):
    """The classifier's NetParameter."""
    return reference.net("vgg16", phase, num_classes=len(OBJECTS), width=WIDTH)


def fill(net):
    """Start the weights as msra does, a little smaller: over the layers pixels of about 64 become scores of about 1."""
    weights = [blobs[0] for blobs in net.params.values()]
    with torch.no_grad():
        for weight in weights:
            fan_in = weight[0].numel()
            weight.normal_(0, (2 / fan_in) ** 0.5 * 64 ** (-1 / len(weights)))
        weights[-1].mul_(0.1)


def draw(number, seed):
    """Picture `number` of a seeded pool, and its class (0 is the first object)."""
    index = number % len(OBJECTS)
    return draw_single(np.random.default_rng([seed, number]), index + 1, SIZE), index


def draw_pool(count, seed):
    """`count` pictures (count x SIZE x SIZE x 3, uint8, RGB) and their classes, drawn by all processors."""
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(partial(draw, seed=seed), range(count), chunksize=50)
        pictures, classes = zip(*tqdm(drawn, total=count, desc="drawing objects", unit="picture", disable=None), strict=True)
    return np.stack(pictures), np.array(classes)


def batches(pictures, classes, size, seed):
    """Endless random batches; each picture lies somewhere on a canvas of zeros (the mean colour), half of them mirrored."""
    random = np.random.default_rng(seed)
    while True:
        data = torch.zeros(size, 3, CANVAS, CANVAS)
        chosen = random.integers(len(pictures), size=size)
        for item, index in zip(data, chosen, strict=True):
            picture = preprocess(pictures[index], VOC)[0]
            top, left = random.integers(CANVAS - SIZE + 1, size=2)
            item[:, top:top + SIZE, left:left + SIZE] = picture.flip(2) if random.random() < 0.5 else picture
        yield {"data": data, "label": torch.from_numpy(classes[chosen]).float()}


def accuracy(net, pictures, classes):
    """The share of pictures, in the middle of the canvas, whose highest score is their class."""
    net.eval()
    right, margin = 0, (CANVAS - SIZE) // 2
    with torch.no_grad():
        for start in range(0, len(pictures), 32):
            data = torch.cat([preprocess(picture, VOC) for picture in pictures[start:start + 32]])
            data = torch.nn.functional.pad(data, (margin,) * 4).contiguous(memory_format=torch.channels_last)
            scores = net.forward_blobs({"data": data}, ["fc8"])["fc8"]
            right += int((scores.argmax(1).numpy() == classes[start:start + 32]).sum())
    net.train()
    return right / len(pictures)


def write_v1(path, net, blobs):
    """Write weights as Caffe did in 2014: V1 layers whose blobs have four axes, biases 1x1x1xN and matrices 1x1xOxI."""
    proto = NetParameter(name=net.name)
    v1_types = {v2_type(name): number for name, number in V1LayerParameter.LayerType.items()}
    for layer in net.layer:
        if layer.type not in v1_types:
            continue  # Input: a V1 net declares its inputs
        old = proto.layers.add(name=layer.name, type=v1_types[layer.type], bottom=layer.bottom, top=layer.top)
        for array in blobs.get(layer.name, ()):
            num, channels, height, width = (1,) * (4 - array.ndim) + array.shape
            old.blobs.append(BlobProto(num=num, channels=channels, height=height, width=width, data=array.ravel()))
    with written_whole(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


@click.command(help=__doc__.splitlines()[0])
@click.option("-o", "--output", default=WEIGHTS, show_default="the miniature's own", help="caffemodel to write")
@click.option("--pictures", default=12000, show_default=True, help="objects to draw and train on")
@click.option("--iterations", default=5000, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(output, pictures, iterations, batch, seed):
    torch.manual_seed(seed)
    train, held_out = draw_pool(pictures, seed), draw_pool(1000, seed + 1)
    net = CaffeNet(describe("train"), "train")
    fill(net)
    solver = Solver(f"{SOLVER} stepsize: {max(1, int(iterations * 0.4))}", net, batches(*train, batch, seed))
    with tqdm(total=iterations, desc="training the classifier", unit="it", disable=None) as progress:
        while solver.iter < iterations:
            solver.step()
            progress.set_postfix(loss=f"{solver.smoothed_loss:.3f}", refresh=False)
            progress.update()
            if solver.iter % 500 == 0 or solver.iter == iterations:
                progress.write(f"iteration {solver.iter}: loss {solver.smoothed_loss:.3f}, "
                               f"held-out accuracy {accuracy(net, *held_out):.1%}")
    write_v1(output, describe("deploy"), net.to_blobs())
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
