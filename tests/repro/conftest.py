import shutil

import pytest
import torch
from helpers import SHARED
from helpers.small import WIDTH, write_voc

import reference
from converters import CaffeNet, write_caffemodel
from repro.miniature.classifier import fill, write_v1
from repro.training.initial_weights import prepare


@pytest.fixture
def shared():
    """Find a real data set (voc-sample, voc-masks, camvid) in the folder that SHARED names, or skip the test."""

    def find(name):
        if not (SHARED / name).is_dir():
            pytest.skip(f"no {name} at hand: set SHARED to the folder that holds it")
        return SHARED / name

    return find


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Nets this small are slower on several threads, and many times slower where others use the processor too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def voc_set(tmp_path_factory):
    """A set of one's own in VOC layout: three classes, six pictures to train on, two to score."""
    return write_voc(tmp_path_factory.mktemp("voc") / "set", {"train": 6, "val": 2}, ["background", "grey", "white"])


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A V1 caffemodel of a narrow VGG16 with random weights."""
    torch.manual_seed(0)
    net = CaffeNet(reference.net("vgg16", "train", num_classes=3, width=WIDTH), "train")
    fill(net)
    path = tmp_path_factory.mktemp("weights") / "vgg16.caffemodel"
    write_v1(path, reference.net("vgg16", "deploy", num_classes=3, width=WIDTH), net.to_blobs())
    return path


@pytest.fixture(scope="session")
def fcn_weights(classifier, tmp_path_factory):
    """Write the weights of a narrow FCN, with random scores in place of zeros: fcn_weights(net name, classes) -> path."""
    folder, written = tmp_path_factory.mktemp("fcn"), {}

    def write(name="voc-fcn32s", num_classes=3):
        if (name, num_classes) not in written:
            torch.manual_seed(0)
            net = CaffeNet(reference.net(name, "deploy", num_classes=num_classes, width=WIDTH))
            prepare(net, classifier)
            for layer in (layer for layer in net.params if "score_" in layer and "up" not in layer):
                torch.nn.init.normal_(net.params[layer][0])
            with torch.no_grad():  # no class is to win everywhere
                blocks = torch.randn(1, 3, 4, 4).repeat_interleave(32, 2).repeat_interleave(32, 3)
                scores = net(data=64 * blocks)["score"]
                net.params["score_fr"][1].sub_(scores.mean((0, 2, 3)))
            written[name, num_classes] = folder / f"{name}-{num_classes}.caffemodel"
            write_caffemodel(written[name, num_classes], net.param, net.to_blobs())
        return written[name, num_classes]

    return write


@pytest.fixture(scope="session")
def small_run(voc_set, classifier, tmp_path_factory):
    """The folder of a finished run of three stages, called a miniature."""
    from reference.solvers import stages_of
    from repro.data import open_voc
    from repro.reproduction.job import Job, Sets
    from repro.reproduction.stages import reproduce

    folder, stages = tmp_path_factory.mktemp("runs") / "small", stages_of("voc-fcn8s")
    sets = Sets(open_voc(voc_set, "train"), {None: open_voc(voc_set, "val")})
    reproduce(Job("miniature", dict.fromkeys(stages, sets), classifier, WIDTH, iterations=dict.fromkeys(stages, 4),
                  base_lr=dict.fromkeys(stages, 1e-7)), folder)
    return folder


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium, driven by playwright; the test is skipped where one of them is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser: pip install '.[browser]'")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open an address at a width: open_page(address, width=1280) -> a page; what goes wrong in its script fails the test."""
    pages, errors = [], []

    def open_(address, width=1280, **options):
        pages.append(chromium.new_page(viewport={"width": width, "height": 900}, **options))
        pages[-1].on("pageerror", lambda error: errors.append(str(error)))
        pages[-1].on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        pages[-1].goto(address)
        return pages[-1]

    yield open_
    for page in pages:
        page.close()
    assert errors == []
