"""The local page: a real server labels real uploads, refuses what it must, and is driven in Chromium."""

import base64
import io
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import requests
from helpers.calls import assert_refused, call, files
from PIL import Image

import repro
from repro.miniature.schedule import BANNER

STAGES = ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]
TIMEOUT = 60


def heed_interrupts():
    """Of a job in the background the shell has Ctrl-C ignored, and so by all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Served:
    """`repro serve` as a process of its own, on a port that was free."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "repro", "serve", *map(str, arguments), "--port", "0", "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=heed_interrupts)
        self.said = self.process.stdout.readline()
        self.address = re.match(r"http://[\d.]+:\d+/", self.said).group()

    def label(self, data):
        return requests.post(f"{self.address}label", data=data, timeout=TIMEOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def served(small_run):
    with Served(small_run, "--most", 1, "--side", 96) as server:
        yield server


def photograph(size=(64, 48), form="PNG", **options):
    """An image file's bytes."""
    file = io.BytesIO()
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(file, form, **options)
    return file.getvalue()


def claiming(width, height):
    """A PNG of a hundred bytes that claims to be so large."""
    data = bytearray(photograph())
    data[16:24] = width.to_bytes(4) + height.to_bytes(4)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    return bytes(data)


def image_of(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(";base64,")[2])))


def test_what_a_photograph_is_labelled_is_what_segment_says(served, small_run):
    data = photograph()
    answer = served.label(data).json()
    assert (answer["width"], answer["height"]) == (64, 48) and [net["name"] for net in answer["nets"]] == STAGES
    for found in answer["nets"]:
        net = repro.load(found["name"], small_run / f"{found['name']}.caffemodel")
        wanted = repro.segment(net, Image.open(io.BytesIO(data)))
        assert np.array_equal(np.array(image_of(found["labels"])), wanted)
        assert {area["name"] for area in found["areas"]} == {["background", "grey", "white"][k] for k in np.unique(wanted)}
        assert sum(float(area["share"].rstrip("%")) for area in found["areas"]) == pytest.approx(100, abs=0.2)
        assert found["seconds"] >= 0


def test_large_turned_and_odd_photographs(served):
    answer = served.label(photograph((300, 150), "JPEG")).json()
    assert (answer["width"], answer["height"]) == (96, 48) == image_of(answer["photograph"]).size
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    answer = served.label(photograph((80, 40), "JPEG", exif=turned)).json()
    assert (answer["width"], answer["height"]) == (40, 80)
    for form in ("GIF", "WEBP", "TIFF", "BMP"):
        assert served.label(photograph(form=form)).status_code == 200, form


@pytest.mark.parametrize(("data", "says"), [
    (b"", "not an image"),
    (b"no image at all", "not an image"),
    (photograph()[:200], "truncated"),
    (photograph(form="PCX"), "not an image"),  # Pillow reads it, but strangers' bytes are not to choose any reader
    (claiming(30000, 30000), "too large"),
    (claiming(8000, 8000), "too large: 8000x8000"),
])  # fmt: skip
def test_what_is_no_photograph_is_refused_in_one_line(served, data, says):
    answer = served.label(data)
    assert answer.status_code == 400 and says in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert served.label(photograph()).status_code == 200


def test_uploads_are_bounded(served):
    answer = served.label(bytes(2**20 + 1))
    assert answer.status_code == 413 and "too large" in answer.json()["error"]
    assert served.label(photograph()).status_code == 200


def test_several_at_once_are_answered_in_the_order_they_came(small_run):
    order, answers = [], {}
    images = [photograph((900, 900)), *(photograph((40 + number, 40)) for number in range(1, 6))]
    with Served(small_run, "--side", 900) as server:

        def ask(number):
            answers[number] = server.label(images[number]).json()
            order.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)  # they arrive in this order; the first takes longer than that
        for thread in threads:
            thread.join(TIMEOUT)
    assert order == list(range(6))
    assert [answers[number]["width"] for number in order] == [900, 41, 42, 43, 44, 45]


def test_the_page_asks_nobody_else_and_keeps_nothing(served, small_run):
    before = files(small_run)
    page = requests.get(served.address, timeout=TIMEOUT)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"(src|href)=\"?(https?:)?//", page.text)
    assert BANNER in unescape(page.text) and all(name in page.text for name in STAGES)
    assert served.label(photograph()).status_code == 200 and files(small_run) == before
    assert requests.get(f"{served.address}../results.json", timeout=TIMEOUT).status_code == 404


@pytest.mark.parametrize(("headers", "says"), [
    ({"Host": "attacker.example"}, "not attacker.example"),
    ({"Host": "[::1"}, "without a name"),
    ({"Origin": "https://attacker.example"}, "a page of https://attacker.example cannot"),
    ({"Origin": "null"}, "a page of null cannot"),
])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_names_and_other_pages_are_refused(served, headers, says, method):
    address = served.address + ("label" if method == "POST" else "")
    answer = requests.request(method, address, headers=headers, data=photograph(), timeout=TIMEOUT)
    assert answer.status_code == 403 and says in answer.json()["error"], answer.text
    assert served.label(photograph()).status_code == 200


def test_its_own_page_and_all_its_names_are_answered(served):
    port = served.address.split(":")[2].strip("/")
    for name in ("127.0.0.1", "localhost", "[::1]"):
        headers = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        answer = requests.post(f"{served.address}label", photograph(), headers=headers, timeout=TIMEOUT)
        assert answer.status_code == 200, name


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "nothing", 404), ("GET", "label", 405), ("PUT", "", 405)])
def test_every_error_is_json(served, method, path, status):
    answer = requests.request(method, f"{served.address}{path}", timeout=TIMEOUT)
    assert answer.status_code == status and answer.json()["error"]


def test_a_host_that_others_reach_needs_the_token(small_run):
    with Served(small_run, "--host", "0.0.0.0") as server:
        token = re.search(r"\?token=([\w-]{20,}) ", server.said)[1]
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        for given, status in (("", 403), ("?token=wrong", 403), (f"?token={token}", 200)):
            assert requests.get(f"{address}{given}", timeout=TIMEOUT).status_code == status
            answer = requests.post(f"{address}label{given}", photograph(), headers={"Host": "its.name"}, timeout=TIMEOUT)
            assert answer.status_code == status


SMALL = """
import io, resource, sys
from PIL import Image
from repro.serve.labeller import opened, read_small
file = io.BytesIO()
options = {"compression": "tiff_deflate"} if sys.argv[2] == "TIFF" else {}
Image.new(sys.argv[1], (4000, 4000)).save(file, sys.argv[2], **options)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert max(read_small(opened(file.getvalue()), 96).size) == 96
print(len(file.getvalue()), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("mode", "form"),
                         [("I;16", "TIFF"), ("RGBA", "PNG"), ("1", "TIFF"), ("P", "GIF"), ("CMYK", "TIFF")])
def test_the_most_that_a_few_bytes_may_claim_takes_little_memory(mode, form):
    done = subprocess.run([sys.executable, "-c", SMALL, mode, form], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, mebibytes = map(int, done.stdout.split())
    assert size < 2**20 and mebibytes < 300


@pytest.mark.skipif(sys.platform != "linux", reason="listeners are looked up in /proc")
def test_it_listens_to_this_machine_alone(served):
    port = int(served.address.split(":")[2].strip("/"))
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    assert [place for place in listening if place.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_interrupted_it_ends_quietly(small_run):
    with Served(small_run) as server:
        server.process.send_signal(signal.SIGINT)
        assert "Traceback" not in server.process.communicate(timeout=TIMEOUT)[1]


def test_a_port_in_use(small_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_refused(call("serve", small_run, "--port", port), f"port {port} of 127.0.0.1 is in use", "--port")


def test_nets_that_cannot_be_had(small_run, fcn_weights, tmp_path):
    assert_refused(call("serve", small_run, "--weights", f"voc-fcn32s={fcn_weights()}"), "not both")
    assert_refused(call("serve", "--folder", tmp_path), "voc-fcn32s", "--weights NET=FILE")
    assert_refused(call("serve", "--weights", f"voc-fcn16s={fcn_weights()}"), "not the weights of voc-fcn16s")


# ---- the page in Chromium ----


def choose(page, name, data):
    page.locator("#file").set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})


def test_an_image_is_chosen_and_seen_labelled(served, open_page):
    page = open_page(served.address)
    choose(page, "first.png", photograph())
    page.locator(".result").first.wait_for()
    assert page.locator(".result h2").inner_text() == "first.png, labelled at 64x48"
    assert page.locator(".nets strong").all_inner_texts() == STAGES
    for figure in page.locator(".nets figure").all():
        assert re.fullmatch(r"\d+\.\d\d s", figure.locator("figcaption span").inner_text())
        shares = [float(cell.rstrip("%")) for cell in figure.locator("tbody td:nth-child(2)").all_inner_texts()]
        assert sum(shares) == pytest.approx(100, abs=0.2) and shares == sorted(shares, reverse=True)
        sizes = [image.bounding_box() for image in figure.locator("img").all()]
        assert sizes[0] == sizes[1] and sizes[0]["width"] > 60
    page.get_by_role("slider").fill("0")
    assert page.locator(".labels").first.evaluate("image => getComputedStyle(image).opacity") == "0"

    choose(page, "second.png", photograph((30, 60)))
    page.locator(".result").nth(1).wait_for()
    assert page.locator(".result h2").all_inner_texts()[0].startswith("second.png")  # the newest is first


def test_an_image_is_dropped(served, open_page):
    page = open_page(served.address)
    page.evaluate("""bytes => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
        document.querySelector(".drop").dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
    }""", list(photograph()))  # fmt: skip
    page.locator(".result").first.wait_for()
    assert page.locator(".result h2").inner_text().startswith("dropped.png")


def test_what_goes_wrong_is_said_and_the_next_is_labelled(served, chromium):
    page = chromium.new_page()  # a refusal is an error on the browser's console, which open_page would not have
    page.goto(served.address)
    choose(page, "notes.txt", b"not an image")
    page.locator("#status.failed").wait_for()
    assert page.locator("#status").inner_text().startswith("notes.txt: not an image")
    choose(page, "large.png", bytes(2**20 + 1))
    page.get_by_text("large.png: it has 1.0 MiB, more than 1").wait_for()
    choose(page, "good.png", photograph())
    page.locator(".result").first.wait_for()
    assert not page.locator("#status.failed").count()
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut(served, open_page, width):
    page = open_page(served.address, width)
    choose(page, "a-photograph-with-a-name-that-goes-on-and-on-and-on-and-on-without-a-break.png", photograph((90, 60)))
    page.locator(".result").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = [figure.bounding_box() for figure in page.locator(".nets figure").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    side_by_side = len({box["y"] for box in boxes}) == 1
    assert side_by_side == (width == 1280)
    assert page.evaluate("[...document.images].filter(image => image.naturalWidth > 0).length") == 6
