"""What a run keeps of its scoring, and the report that is made of it, looked at in Chromium."""

import hashlib
import io
import json
import shutil
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from helpers.calls import assert_refused, call
from PIL import Image

from repro.data import open_voc
from repro.data.images import load_labels, voc_palette
from repro.miniature.schedule import BANNER
from repro.report.artifacts import keep_pictures, worst_first
from repro.report.charts import learning_curves
from repro.scoring.metrics import Confusion, scores

STAGES = ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]


class Addresses(HTMLParser):
    """All that a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of a run, to be spoilt."""
    return shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.safetensors"))


# ---- what is kept ----


def test_the_label_maps_and_the_confusion_matrix_are_what_was_scored(small_run, voc_set, tmp_path):
    results = json.loads((small_run / "results.json").read_text())["stages"]
    for stage in STAGES:
        kept = json.loads((small_run / stage / "evaluation.json").read_text())[""]
        assert scores(np.array(kept["confusion"])).means() == {name: results[stage][name] for name in
                                                               ("pixel_acc", "mean_acc", "mean_iu", "fw_iu")}
        evaluated = call("evaluate", "--predictions", small_run / stage / "labels", "--data", voc_set, "--split", "val",
                         "-o", tmp_path / "scores.json")
        assert evaluated.exit_code == 0, evaluated.output
        assert json.loads((tmp_path / "scores.json").read_text())["mean_iu"] == results[stage]["mean_iu"]
        for id, ours in kept["images"].items():
            image = Confusion(3)
            image.add(load_labels(voc_set / f"SegmentationClass/{id}.png"),
                      load_labels(small_run / stage / f"labels/{id}.png"))
            assert ours["mean_iu"] == image.scores().mean_iu


def test_files_are_hashed_and_the_environment_said(small_run):
    results = json.loads((small_run / "results.json").read_text())["stages"]["voc-fcn16s"]
    assert set(results["files"]) == {"voc-fcn32s.caffemodel", "voc-fcn16s.caffemodel", "Segmentation/train.txt",
                                     "Segmentation/val.txt"}
    weights = (small_run / "voc-fcn16s.caffemodel").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert results["files"]["voc-fcn16s.caffemodel"] == {"bytes": len(weights), "sha256": digest}
    assert results["environment"]["threads"] == torch.get_num_threads() and "torch" in results["environment"]["packages"]


def test_the_worst_pictures_are_kept_and_a_spread_of_the_others(voc_set, tmp_path, monkeypatch):
    monkeypatch.setattr("repro.report.artifacts.WORST", 2)
    monkeypatch.setattr("repro.report.artifacts.SPREAD", 2)
    dataset = open_voc(voc_set, "train")
    images = {id: {"mean_iu": iu} for id, iu in zip(dataset.ids, (0.5, 0.1, 0.9, 0.7, 0.3), strict=False)}
    images[dataset.ids[5]] = None  # all of it void
    assert worst_first(images) == [dataset.ids[place] for place in (1, 4, 0, 3, 2)]
    keep_pictures(dataset, images, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.jpg")} == {dataset.ids[place] for place in (1, 4, 0, 2)}
    np.testing.assert_array_equal(load_labels(tmp_path / f"{dataset.ids[4]}.png"), dataset[4].labels)


# ---- the page's words ----


def test_a_run_ends_with_a_report_that_needs_nothing_else(small_run):
    text = (small_run / "report.html").read_text()
    addresses = Addresses(text).found
    assert len(addresses) > 10 and {address[:5] for address in addresses if address[0] != "#"} == {"data:"}
    assert "url(" not in text and "@import" not in text
    assert unescape(text).count(BANNER) > 2
    results = json.loads((small_run / "results.json").read_text())["stages"]
    for stage in STAGES:
        assert f"<td>{100 * results[stage]['mean_iu']:.1f}</td>" in text
        assert results[stage]["files"][f"{stage}.caffemodel"]["sha256"] in text
    for published in ("63.6", "65.0", "65.5"):
        assert f"<td>{published}</td>" in text
    assert "score_pool3    untouched" in text


def test_only_the_miniature_is_called_one(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    job = results["job"] | {"scale": "paper"}
    (run / "results.json").write_text(json.dumps(results | {"scale": "paper", "job": job}))
    for stage in STAGES:
        path = run / stage / "surgery.txt"
        path.write_text(path.read_text().replace(BANNER, ""))
    assert call("report", run, "-o", tmp_path / "paper.html").stdout.strip() == f"report: {tmp_path / 'paper.html'}"
    text = (tmp_path / "paper.html").read_text().lower().replace(str(tmp_path).lower(), "")
    assert "miniature" not in text


def test_a_run_that_is_not_finished_yet_is_reported_as_far_as_it_is(run):
    results = json.loads((run / "results.json").read_text())
    del results["stages"]["voc-fcn8s"]
    (run / "results.json").write_text(json.dumps(results))
    assert call("report", run).exit_code == 0
    text = (run / "report.html").read_text()
    assert '<th scope="rowgroup" colspan="5">voc-fcn16s' in text and '<th scope="rowgroup" colspan="5">voc-fcn8s' not in text
    (run / "results.json").write_text(json.dumps(results | {"stages": {}}))
    assert_refused(call("report", run), run, "no stage is finished yet")


def test_what_is_no_run_or_a_damaged_one(run, tmp_path):
    assert_refused(call("report", tmp_path / "absent"), "absent")
    (tmp_path / "empty").mkdir()
    assert_refused(call("report", tmp_path / "empty"), "results.json", "repro reproduce")
    before = (run / "report.html").read_bytes()
    (run / "voc-fcn16s" / "labels" / "val_0.png").unlink()
    assert_refused(call("report", run), "val_0.png", "no such file")
    (run / "voc-fcn16s" / "evaluation.json").write_text("{")
    assert_refused(call("report", run), "evaluation.json", "damaged")
    (run / "results.json").write_text("{}")
    assert_refused(call("report", run), "results.json", "not a run's results")
    assert (run / "report.html").read_bytes() == before


def test_learning_curves_have_one_scale_and_stay_in_their_frames():
    steep = [(k, 3 * 0.9**k) for k in range(1, 1001)]
    flat = [(k, 0.5) for k in range(1, 8)]
    one, other = learning_curves([steep, flat])
    assert one.y_ticks == other.y_ticks and one.y_ticks[0][1] == "0"
    for curve, places in ((one, 60), (other, 7)):
        points = np.array([point.split(",") for point in curve.line.split()], float)
        assert len(points) == places
        assert (points >= [40, 10]).all() and (points <= [348, 190]).all()
    assert np.ptp(np.array([point.split(",") for point in other.line.split()], float)[:, 1]) == 0
    assert (other.first, other.last, other.iterations) == (0.5, 0.5, 7)


# ---- the page in Chromium ----


def stack_colours(picture):
    """The pixels of a picture's stack, as Chromium shows it: uint8 HxWx3."""
    return np.array(Image.open(io.BytesIO(picture.locator(".stack").screenshot())).convert("RGB"))


def opacities(picture):
    return picture.locator(".layer").evaluate_all("layers => layers.map(layer => Number(getComputedStyle(layer).opacity))")


def test_the_slider_fades_from_the_photograph_to_the_finest_labels(small_run, open_page):
    page = open_page((small_run / "report.html").as_uri())
    picture = page.locator(".picture").first
    slider = picture.locator("input")
    assert opacities(picture) == [1, 0, 0, 0, 0]
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert opacities(picture) == [1, 0.5, 0, 0, 0]
    assert slider.get_attribute("aria-valuetext") == "photograph to truth, 50%"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert opacities(picture) == [1, 1, 0, 0, 0] and picture.locator("output").inner_text() == "truth"

    shown = picture.locator(".layer:not([aria-hidden=true]) img")
    assert shown.count() == 1 and shown.get_attribute("alt").startswith("truth: background")
    seen = stack_colours(picture)  # void and two classes, in VOC's colours
    truth = load_labels(small_run / "pictures" / f"{picture.locator('figcaption').inner_text().split()[1]}.png")
    for label in np.unique(truth):
        here = np.abs(seen.astype(int) - voc_palette()[label]).max(2) <= 3
        assert here.mean() == pytest.approx((truth == label).mean(), abs=0.1)

    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert opacities(picture) == [1, 1, 1, 1, 1] and slider.get_attribute("aria-valuetext") == "8s"
    page.keyboard.press("Home")
    assert opacities(picture) == [1, 0, 0, 0, 0]


def test_all_pictures_are_faded_at_once(small_run, open_page):
    page = open_page((small_run / "report.html").as_uri())
    page.get_by_role("button", name="16s").click()
    pictures = page.locator(".picture").all()
    assert len(pictures) == 2 and all(opacities(picture) == [1, 1, 1, 1, 0] for picture in pictures)
    assert page.get_by_role("button", name="16s").get_attribute("aria-pressed") == "true"
    page.get_by_role("slider", name="all pictures").press("PageDown")
    assert all(opacities(picture) == [1, 1, 1, 0, 0] for picture in pictures)
    ranks = [picture.locator("figcaption").inner_text().split(".")[0] for picture in pictures]
    assert ranks == ["1", "2"]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps(small_run, open_page, width, scheme):
    page = open_page((small_run / "report.html").as_uri(), width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("""() => [...document.querySelectorAll("main *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width && !element.closest(".scroll, pre, .unseen") && (box.right > innerWidth || box.left < 0);
    }).map((element) => element.outerHTML.slice(0, 80))""") == []
    brightness = sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")))
    assert (brightness > 600) == (scheme == "light")
    boxes = [picture.bounding_box() for picture in page.locator(".picture").all()]
    first, second = boxes[:2]
    assert second["x"] >= first["x"] + first["width"] or second["y"] >= first["y"] + first["height"]


def test_on_paper_and_without_script_the_layers_stand_side_by_side(small_run, chromium, open_page):
    page = open_page((small_run / "report.html").as_uri())
    page.get_by_role("button", name="8s").click()
    page.emulate_media(media="print")
    plain = chromium.new_page(java_script_enabled=False)
    plain.goto((small_run / "report.html").as_uri())
    for shown in (page, plain):
        images = shown.locator(".picture").first.locator("img").all()
        boxes = [image.bounding_box() for image in images]
        assert len({(box["x"], box["y"]) for box in boxes}) == 5
        assert not shown.locator(".picture input").first.is_visible()
    assert opacities(page.locator(".picture").first) == [1] * 5
    plain.close()
