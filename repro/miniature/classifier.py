"""The miniature's classifier: a VGG16 of an eighth of the width, trained on single drawn objects.

`python -m repro.miniature.classifier` makes the caffemodel that the miniature starts from. It is kept in the project in the
V1 format of 2014, as the original VGG16 is, so that a run of the miniature starts where a real one does.
"""

import itertools
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

import reference
import surgery
from converters import CaffeNet
from converters.caffe_pb2 import BlobProto, NetParameter, V1LayerParameter
from converters.files import atomic_write
from converters.formats.upgrade import v2_type
from reference.families import VOC
from repro.data.images import preprocess
from repro.miniature.draw import CLASSES, draw_scene, draw_single
from repro.training.solver import Solver

WIDTH = 1 / 8
WEIGHTS = Path(__file__).parent / "vgg16-eighth.caffemodel"
SIZE, CANVAS = 128, 224  # a drawn object's picture, and the classifier's input, in pixels
NEAR, FAR = 16, 48  # from the object's centre: what is looked at is the object, or background
SOLVER = 'type: "Adam" base_lr: 0.0002 momentum: 0.9 weight_decay: 0.0001 lr_policy: "step" gamma: 0.2 average_loss: 50'


def describe(phase):
    """The classifier's NetParameter."""
    return reference.net("vgg16", phase, num_classes=len(CLASSES), width=WIDTH)


def fill(net):
    """Start the weights as msra does, a little smaller: over the layers pixels of about 64 become scores of about 1."""
    weights = [blobs[0] for blobs in net.params.values()]
    with torch.no_grad():
        for weight in weights:
            fan_in = weight[0].numel()
            weight.normal_(0, (2 / fan_in) ** 0.5 * 64 ** (-1 / len(weights)))
        weights[-1].mul_(0.1)


def draw(number, seed):
    """Picture `number` of a seeded pool, its object's class and centre."""
    index = 1 + number % (len(CLASSES) - 1)
    picture, centre = draw_single(np.random.default_rng([seed, number]), index, SIZE)
    return picture, index, centre


def draw_pool(count, seed):
    """`count` pictures (count x SIZE x SIZE x 3, uint8, RGB), their classes and centres, drawn by all processors."""
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(partial(draw, seed=seed), range(count), chunksize=50)
        columns = zip(*tqdm(drawn, total=count, desc="drawing objects", unit="picture", disable=None), strict=True)
        return tuple(np.stack(column) for column in columns)


def look(random, picture, index, centre):
    """What the classifier sees when it looks at a point of a picture, and the class: the object's, or far off background.

    The point comes to lie in the middle of a canvas of zeros, the mean colour, as it does when the net made fully
    convolutional slides over a padded image.
    """
    background = random.random() < 1 / len(CLASSES)
    while True:
        point = random.uniform(0, SIZE, 2) if background else centre + random.uniform(-NEAR, NEAR, 2)
        if not background or np.abs(point - centre).max() > FAR:
            break
    data = preprocess(picture, VOC.mean)
    left, top = (int(CANVAS / 2 - place) for place in point)
    data = F.pad(data, (left, CANVAS - SIZE - left, top, CANVAS - SIZE - top))
    return data.flip(3) if random.random() < 0.5 else data, 0 if background else index


def batches(pool, size, seed):
    """Endless random batches of `size`."""
    random = np.random.default_rng(seed)
    pictures, classes, centres = pool
    while True:
        seen = [look(random, pictures[i], classes[i], centres[i]) for i in random.integers(len(pictures), size=size)]
        yield {"data": torch.cat([data for data, _ in seen]), "label": torch.tensor([float(index) for _, index in seen])}


@torch.no_grad()
def accuracy(net, feed, count):
    """The share of `count` batches' pictures whose highest score is their class."""
    net.eval()
    right = []
    for batch in itertools.islice(feed, count):
        data = batch["data"].contiguous(memory_format=torch.channels_last)
        right.append(net.forward_blobs({"data": data}, ["fc8"])["fc8"].argmax(1) == batch["label"])
    net.train()
    return torch.cat(right).float().mean().item()


def balance(net, scenes=40, seed=0):
    """{layer: blobs} with the weights spread over the layers so that one learning rate suits all, as it does in VGG16.

    A net of ReLUs computes the same when a layer is multiplied and a later one divided. Each layer is multiplied by the
    root of its relative gradient, that of a segmentation of drawn scenes with fc8 for the scores.
    """
    blobs = net.to_blobs()
    fcn = CaffeNet(reference.net("voc-fcn32s", "train", num_classes=len(CLASSES), width=WIDTH), "train")
    surgery.transplant(fcn, blobs | {"score_fr": blobs["fc8"]})
    surgery.interp(fcn)
    for number in range(scenes):
        picture, labels = draw_scene(np.random.default_rng([seed, number]))
        fcn.loss(data=preprocess(picture, VOC.mean), label=torch.from_numpy(labels)[None, None].float()).backward()
    weights = [fcn.params["score_fr" if name == "fc8" else name][0] for name in blobs]
    speeds = np.array([float(weight.grad.norm() / weight.detach().norm()) for weight in weights])
    factors = np.sqrt(speeds / np.exp(np.log(speeds).mean()))
    gains = np.cumprod(factors)  # of a layer's top; the last is 1
    return {name: [weight * factor, bias * gain]
            for (name, (weight, bias)), factor, gain in zip(blobs.items(), factors, gains, strict=True)}


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
    with atomic_write(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


@click.command(help=__doc__.splitlines()[0])
@click.option("-o", "--output", default=WEIGHTS, show_default="the miniature's own", help="caffemodel to write")
@click.option("--pictures", default=12000, show_default=True, help="objects to draw and train on")
@click.option("--iterations", default=1500, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(output, pictures, iterations, batch, seed):
    torch.manual_seed(seed)
    train, held_out = draw_pool(pictures, seed), draw_pool(1000, seed + 1)
    net = CaffeNet(describe("train"), "train")
    fill(net)
    solver = Solver(f"{SOLVER} stepsize: {max(1, int(iterations * 0.7))}", net, batches(train, batch, seed))
    with tqdm(total=iterations, desc="training the classifier", unit="it", disable=None) as progress:
        while solver.iter < iterations:
            solver.step()
            progress.set_postfix(loss=f"{solver.smoothed_loss:.3f}", refresh=False)
            progress.update()
            if solver.iter % 200 == 0 or solver.iter == iterations:
                write_v1(output, describe("deploy"), balance(net))
                progress.write(f"iteration {solver.iter}: loss {solver.smoothed_loss:.3f}, "
                               f"held-out accuracy {accuracy(net, batches(held_out, 40, seed), 15):.1%}; wrote {output}")


if __name__ == "__main__":
    main()
