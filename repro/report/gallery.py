"""The pictures of a report: photograph, truth and each stage's labels, laid on one another."""

from dataclasses import dataclass

from converters.errors import CaffeFileError
from repro.data.images import VOID, load_image, load_labels, voc_palette
from repro.inference.legend import percent
from repro.inference.segmentation import areas
from repro.pages import data_uri
from repro.report.artifacts import PICTURES, label_folder, worst_first


@dataclass
class Layer:
    """One picture of a stack: its name, its address, and what it shows in words."""

    name: str
    address: str
    words: str


@dataclass
class Item:
    """One image: its place among all, worst first, its scores by stage, its layers, its size."""

    id: str
    rank: int
    scores: dict  # {name of a stage: mean IU}
    layers: list
    width: int
    height: int


def items(run):
    """The Items of a run's kept pictures, the worst of the last stage first; of several heads the main one is shown."""
    head = run.heads[0]
    last = run.stages[-1].evaluation[head]
    names = dict(enumerate(last["classes"])) | {VOID: "void"}
    found = []
    for rank, id in enumerate(worst_first(last["images"]), start=1):
        photograph, truth = (run.folder / PICTURES / f"{id}{suffix}" for suffix in (".jpg", ".png"))
        if not photograph.exists():
            continue
        height, width = load_image(photograph).shape[:2]
        layers = [Layer("photograph", data_uri(_bytes(photograph), "image/jpeg"), f"photograph {id}")]
        maps = {stage.name: label_folder(stage.folder, head) / f"{id}.png" for stage in run.stages}
        for name, path in {"truth": truth, **maps}.items():
            layers.append(Layer(name, data_uri(_bytes(path), "image/png"), f"{name}: {_words(load_labels(path), names)}"))
        scores = {stage.name: stage.evaluation[head]["images"][id]["mean_iu"] for stage in run.stages}
        found.append(Item(id, rank, scores, layers, width, height))
    return found


def colours(classes):
    """(class, its colour as CSS writes it), void last."""
    palette = voc_palette()
    return [(name, "rgb({}, {}, {})".format(*palette[label])) for label, name in [*enumerate(classes), (VOID, "void")]]


def _words(labels, names):
    """What a label map shows: "background 60.0%, boat 40.0%"; names: {label: name}."""
    return ", ".join(f"{name} {percent(area['fraction'])}" for name, area in areas(labels, names).items())


def _bytes(path):
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CaffeFileError(path, "no such file; it belongs to the run's record") from error
