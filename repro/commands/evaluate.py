"""repro evaluate"""

import json
from pathlib import Path

import click

from repro.commands.options import existing, threads


@click.command()
@click.option("--net", default="voc-fcn8s", show_default=True, help="the net that the weights are of")
@click.option("--weights", required=True, type=existing("file"), help="its caffemodel")
@click.option("--data", required=True, type=existing("folder"), help="a folder in VOC layout")
@click.option("--split", default="seg11valid", show_default=True, help="which list of images")
@click.option("--image-scale", default=1.0, show_default=True, help="size of the images against that on disk")
@click.option("--limit", type=int, help="score only so many images")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="write the scores here too, as JSON")
@threads
def command(net, weights, data, split, image_scale, limit, output):
    """Score a net's label maps: pixel accuracy, mean accuracy, mean IU and frequency weighted IU, void left out."""
    import repro
    from converters import CaffeError
    from converters.files import written_whole
    from repro.data import open_voc
    from repro.evaluation import evaluate

    dataset = open_voc(data, split, scale=image_scale, limit=limit)
    model = repro.load(net, weights)
    classes = len(model.params["score_fr"][1])
    if classes != dataset.num_classes:
        raise CaffeError(f"{weights} has {classes} classes, {data} has {dataset.num_classes}")
    scores = evaluate(model, dataset).scores()
    for name, value in scores.means().items():
        click.echo(f"{name:10} {100 * value:6.2f}")
    for name, value in zip(dataset.classes, scores.class_iu, strict=True):
        click.echo(f"  IU {name:14} {100 * value:6.2f}")
    if output:
        result = {"net": net, "weights": str(weights), "data": str(data), "split": split, "images": len(dataset),
                  **scores.means(), "class_iu": scores.by_class(dataset.classes)}
        with written_whole(Path(output)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
