"""repro segment"""

from pathlib import Path

import click

from converters.errors import CaffeError, CaffeFileError
from repro.commands.options import complete_net, existing, threads


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--net", default="voc-fcn8s", show_default=True, help="the net that the weights are of",
              shell_complete=complete_net)
@click.option("--weights", required=True, type=existing("file"), help="its caffemodel")
@click.option("-o", "--output", default="segmented", show_default=True, type=click.Path(file_okay=False),
              help="folder for NAME.png (labels in VOC's palette) and NAME-overlay.png (with a legend)")
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, where they are not the published")
@click.option("--head", type=click.Choice(["sem", "geo"]), help="which of SIFT Flow's two labelings  [default: sem]")
@click.option("--probabilities", is_flag=True, help="write NAME-probabilities.npz too: each class's at every pixel")
@click.option("--areas", is_flag=True, help="write NAME-areas.json too: how much of the picture each class covers")
@threads
def command(images, net, weights, output, classes, head, probabilities, areas):
    """Label every pixel of IMAGES: photographs, folders of them, or patterns such as 'frames/*.jpg'.

    Pictures are turned upright, gray, CMYK, 16 bits and transparency are made RGB, and of an animation the first picture is
    labelled. One that cannot be read is named, the others are labelled all the same, and the exit status is 2.
    """
    import repro
    from repro import photographs
    from repro.segmentation import classes_of

    suffixes = [".png", "-overlay.png"] + probabilities * ["-probabilities.npz"] + areas * ["-areas.json"]
    paths = photographs.find(images)
    photographs.check_outputs(paths, output, suffixes)
    net = repro.load(net, weights)
    names = classes_of(net, classes, head)
    if unread := label(net, paths, output, names, head, probabilities, areas):
        raise CaffeError("; ".join(map(str, unread)))


def label(net, paths, output, names, head=None, probabilities=False, areas=False):
    """Label photographs and write what is asked for into the folder `output`; the errors of those that cannot be read."""
    from repro.beside import ahead, behind

    unread = []
    with behind() as later:
        for path, (image, note) in ahead(_read, paths):
            if image is None:
                unread.append(note)
                continue
            labels, scores = _label(net, image, head, probabilities)
            later(_write, path, Path(output) / path.stem, image, labels, scores, names, areas, note)
    return unread


def _read(path):
    """(RGB uint8 HxWx3, what to say of it), or (None, why it cannot be read)."""
    from repro.images import frames, load_image

    try:
        count = frames(path)
        return load_image(path), f"  (the first of {count} pictures)" if count > 1 else ""
    except CaffeFileError as error:
        return None, error


def _label(net, image, head, probabilities):
    """(label map, each class's probabilities or None) of a picture."""
    import numpy as np
    from PIL import Image

    from repro import segmentation

    photograph = Image.fromarray(image)
    if not probabilities:
        return segmentation.segment(net, photograph, head), None
    scores = segmentation.probabilities(net, photograph, head)
    return scores.argmax(0).astype(np.uint8), scores


def _write(path, stem, image, labels, scores, names, areas, note):
    """Write all that was asked for as STEM and a suffix, and say so."""
    import json

    import numpy as np
    from PIL import Image

    from converters.files import written_whole
    from repro import segmentation
    from repro.images import overlay, save_labels
    from repro.legend import percent, with_legend

    if scores is not None:
        with written_whole(f"{stem}-probabilities.npz") as temporary:
            np.savez_compressed(temporary, probabilities=scores.astype(np.float16), classes=names)
    covered = segmentation.areas(labels, names)
    save_labels(f"{stem}.png", labels)
    legend = [(names.index(name), f"{name} {percent(area['fraction'])}") for name, area in covered.items()]
    with written_whole(f"{stem}-overlay.png") as temporary:
        # Compressed lightly: more would take a tenth of the time that the labels take.
        Image.fromarray(with_legend(overlay(image, labels), legend)).save(temporary, compress_level=1)
    if areas:
        height, width = labels.shape
        with written_whole(f"{stem}-areas.json") as temporary:
            temporary.write_text(json.dumps({"width": width, "height": height, "areas": covered}, indent=2) + "\n")
    click.echo(f"{path} -> {stem}.png{note}")
