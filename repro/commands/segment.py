"""repro segment"""

import click

from converters.errors import CaffeError
from repro.commands.options import complete_net, existing, head, threads


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--net", default="voc-fcn8s", show_default=True, help="the net that the weights are of",
              shell_complete=complete_net)
@click.option("--weights", required=True, type=existing("file"), help="its caffemodel")
@click.option("-o", "--output", default="segmented", show_default=True, type=click.Path(file_okay=False),
              help="folder for NAME.png (labels in VOC's palette) and NAME-overlay.png (with a legend)")
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, where they are not the published")
@head
@click.option("--probabilities", is_flag=True, help="write NAME-probabilities.npz too: each class's at every pixel")
@click.option("--areas", is_flag=True, help="write NAME-areas.json too: how much of the picture each class covers")
@threads
def command(images, net, weights, output, classes, head, probabilities, areas):
    """Label every pixel of IMAGES: photographs, folders of them, or patterns such as 'frames/*.jpg'.

    Pictures are turned upright, gray, CMYK, 16 bits and transparency are made RGB, and of an animation the first picture is
    labelled. One that cannot be read is named, the others are labelled all the same, and the exit status is 2.

    \b
    repro segment photo.jpg --weights fcn8s-heavy-pascal.caffemodel
    repro segment 'frames/*.jpg' --net voc-fcn32s --weights fcn32s-heavy-pascal.caffemodel -o labels --areas
    """
    import repro
    from repro.inference import folders, inputs
    from repro.inference.segmentation import classes_of

    suffixes = [".png", "-overlay.png"] + probabilities * ["-probabilities.npz"] + areas * ["-areas.json"]
    paths = inputs.find(images)
    inputs.check_outputs(paths, output, suffixes)
    net = repro.load(net, weights)
    names = classes_of(net, classes, head)
    if unread := folders.label(net, paths, output, names, head, probabilities, areas, click.echo):
        raise CaffeError("; ".join(map(str, unread)))
