"""repro segment"""

from pathlib import Path

import click

from converters.errors import CaffeError
from repro.commands.options import existing, threads


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--net", default="voc-fcn8s", show_default=True, help="the net that the weights are of")
@click.option("--weights", required=True, type=existing("file"), help="its caffemodel")
@click.option("-o", "--output", default="segmented", show_default=True, type=click.Path(file_okay=False),
              help="folder for NAME.png (labels in VOC's palette) and NAME-overlay.png")
@threads
def command(images, net, weights, output):
    """Label every pixel of IMAGES, photographs or folders of them."""
    from PIL import Image

    import repro
    from converters.files import written_whole
    from repro.images import load_image, overlay, save_labels

    output, errors = Path(output), []
    net = repro.load(net, weights)
    paths = [path for image in map(Path, images) for path in (sorted(image.iterdir()) if image.is_dir() else [image])]
    for path in paths:
        try:
            photograph = load_image(path)
        except CaffeError as error:
            errors.append(error)  # the others are labelled all the same
            continue
        labels = repro.segment(net, path)
        save_labels(output / f"{path.stem}.png", labels)
        with written_whole(output / f"{path.stem}-overlay.png") as temporary:
            Image.fromarray(overlay(photograph, labels)).save(temporary)
        click.echo(f"{path} -> {output / path.stem}.png")
    if errors:
        raise CaffeError("; ".join(map(str, errors)))
