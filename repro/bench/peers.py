"""The programs that are compared: each function loads one, in its own process, and returns what labels an image.

They find in `folder`: net.caffemodel, net.pth (a state_dict), net.prototxt. What they return makes of an image, a float32
array 1x3xHxW, a label map, uint8 HxW. Imports wait until a process needs them; see `Contestant`.
"""

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

FAST, PLAIN, LAST = "repro", "CaffeNet", ", channels last"
OPENCV, TORCHFCN = "OpenCV", "torchfcn"
PACKAGES = {OPENCV: "cv2", TORCHFCN: "torchfcn", TORCHFCN + LAST: "torchfcn"}  # {other program: what it is imported as}
KNOWN_TO_TORCHFCN = "voc-fcn8s"


def installed(name=KNOWN_TO_TORCHFCN, width=1):
    """The other programs that are installed and know a published net at this width, in the order in which they are shown."""
    return [peer for peer, package in PACKAGES.items()
            if find_spec(package) and (package != "torchfcn" or (name, width) == (KNOWN_TO_TORCHFCN, 1))]


def programs(name, width, folder, threads, peers=True):
    """{contestant: (loader, arguments)} for a published net: ours, and the other programs unless `peers` is False."""
    found = {FAST: (fast, name, folder, threads), PLAIN: (plain, name, folder, threads),
             PLAIN + LAST: (plain, name, folder, threads, True)}
    for peer in installed(name, width) if peers else ():
        found[peer] = (opencv, folder, threads) if peer == OPENCV else (torchfcn, folder, threads, peer.endswith(LAST))
    return found


def one_image(folder, load, *arguments):
    """A turn that labels image.npy with a program."""
    import numpy as np

    label, image = load(*arguments), np.load(Path(folder) / "image.npy")
    return lambda: label(image)


def fast(name, folder, threads):
    import torch

    import repro

    torch.set_num_threads(threads)
    labels = repro.accelerate(repro.load(name, Path(folder) / "net.caffemodel")).labels
    return lambda image: labels(torch.from_numpy(image))


def plain(name, folder, threads, channels_last=False):
    import repro

    net = repro.load(name, Path(folder) / "net.caffemodel")
    return in_torch(net, threads, channels_last, lambda image: next(iter(net(data=image).values())))


def torchfcn(folder, threads, channels_last=False):
    """torchfcn's FCN8s, whose layers bear Caffe's names, from a file of its kind."""
    import torch

    weights = torch.load(Path(folder) / "net.pth")
    with torchfcn_models() as models:
        model = models.FCN8s(n_class=len(weights["score_fr.bias"])).eval()
    model.load_state_dict(weights)
    del weights
    return in_torch(model, threads, channels_last, model)


@contextmanager
def torchfcn_models():
    """torchfcn's model classes alone: its trainer, and what it downloads weights with, need much that is not needed here."""
    stand_ins = {name: ModuleType(name) for name in ("torchfcn", "fcn", "torchvision")}
    stand_ins["torchfcn"].__path__ = find_spec("torchfcn").submodule_search_locations
    sys.modules.update(stand_ins)
    try:
        from torchfcn import models

        yield models
    finally:
        for name in stand_ins:
            del sys.modules[name]


def in_torch(model, threads, channels_last, forward):
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(memory_format=layout)

    @torch.no_grad()
    def label(image):
        image = torch.from_numpy(image).contiguous(memory_format=layout)
        return forward(image)[0].argmax(0).to(torch.uint8).numpy()

    return label


def opencv(folder, threads):
    import cv2
    import numpy as np

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromCaffe(str(Path(folder) / "net.prototxt"), str(Path(folder) / "net.caffemodel"))

    def label(image):
        net.setInput(image)
        return net.forward()[0].argmax(0).astype(np.uint8)

    return label


def machine(threads):
    """The limit: a turn gives {what: GFLOP/s}, the best of some sizes of what PyTorch has for the work."""
    import torch

    from repro.bench.contestants import timed

    torch.set_num_threads(threads)
    works = {"convolution": [], "matrix product": []}
    for channels, side in (128, 128), (256, 96), (512, 64):
        pixels = torch.randn(1, channels, side + 2, side + 2).contiguous(memory_format=torch.channels_last)
        kernels = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
        works["convolution"].append((2e-9 * 9 * (channels * side) ** 2, torch.nn.functional.conv2d, pixels, kernels))
    for n in 1024, 2048:
        works["matrix product"].append((2e-9 * n**3, torch.mm, torch.randn(n, n), torch.randn(n, n)))

    @torch.no_grad()
    def run():
        return {what: max(gflop / timed(lambda: work(*on))[1] for gflop, work, *on in sizes for _ in range(3))  # noqa: B023
                for what, sizes in works.items()}

    return run
