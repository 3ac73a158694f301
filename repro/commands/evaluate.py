"""repro evaluate"""

import json

import click

from converters.errors import CaffeError
from repro.commands.options import as_json, complete_net, existing, head, threads


@click.command()
@click.option("--net", default="voc-fcn8s", show_default=True, help="the net that the weights are of",
              shell_complete=complete_net)
@click.option("--weights", type=existing("file"), help="its caffemodel, or a .safetensors or .pt made of one")
@click.option("--predictions", "label_maps", type=existing("folder"),
              help="score the label maps ID.png in this folder, not a net's")
@click.option("--data", required=True, type=existing("folder"),
              help="the net's data set; for VOC's nets also SBD, a folder in VOC layout, or one with images, labels and "
              "SPLIT.txt; for --predictions also a folder of label PNGs alone")
@click.option("--context", type=existing("folder"), help="PASCAL-Context's labels, --data being VOC 2010")
@click.option("--split", help="which list of images  [default: the published one, such as seg11valid]")
@head
@click.option("--classes", type=existing("file"), help="names of the classes, one a line, for one's own data")
@click.option("--submission", type=click.Path(file_okay=False),
              help="keep the label maps in this folder, as VOC's server takes them; a split without labels is not scored")
@click.option("--year", type=click.IntRange(2007, 2012), help="of the submission  [default: of the folder's name, VOC2012]")
@click.option("--trained-on", multiple=True, type=existing("file"), help="a list of images that the weights were trained on")
@click.option("--force", is_flag=True, help="score images that were trained on too")
@click.option("--image-scale", default=1.0, show_default=True, help="size of the images against that on disk")
@click.option("--limit", type=int, help="score only so many images")
@click.option("-o", "--output", multiple=True, type=click.Path(dir_okay=False),
              help="write the scores here too, by suffix: .json, .csv, .txt")
@as_json
@threads
def command(net, weights, label_maps, data, context, split, head, classes, submission, year, trained_on, force,
            image_scale, limit, output, as_json):
    """Score a net's label maps, or saved ones.

    Pixel accuracy, mean accuracy, mean IU and frequency weighted IU, the IU of each class, and the scores within 1 to 40
    pixels of a boundary; void left out. `torchrun --nproc-per-node N -m repro evaluate ...` shares the images out among N
    processes: the scores are the same.
    """
    import repro
    from reference.families import family_of
    from repro import distributed
    from repro.data.dataset import read_list
    from repro.data.published import open_data, trained_ids
    from repro.inference.segmentation import feed_alike
    from repro.scoring import evaluation
    from repro.scoring.tables import check_suffix, report, table, write_report
    from repro.scoring.voc_submission import submission_folder

    if (weights is None) == (label_maps is None):
        raise CaffeError("give the weights of a net (--weights) or label maps (--predictions), one of them")
    if submission and image_scale != 1:
        raise CaffeError("--submission needs label maps of the photographs' size: leave --image-scale out")
    for path in output:
        check_suffix(path)
    click.get_current_context().with_resource(distributed.process_group())
    dataset = open_data(net, data, split, head, context, classes, labelled=submission is None,
                        scale=image_scale, limit=limit)
    if not force:
        trained = trained_ids(net, dataset).union(*({id for _, id in read_list(path)} for path in trained_on))
        evaluation.refuse_trained(dataset, trained)

    folder = submission_folder(submission, data, split or family_of(net).splits[1], year) if submission else None
    if label_maps:
        triples = evaluation.saved_predictions(label_maps, dataset)
        found = evaluation.count(evaluation.save_predictions(triples, folder) if folder else triples, dataset, trimap=True)
    else:
        model = repro.load(net, weights)
        feed_alike(model, dataset)
        if dataset.labels_blob is None:
            triples = evaluation.predictions(model, dataset, evaluation.score_blob(model, dataset, head))
            count, = distributed.sums(sum(1 for _ in evaluation.save_predictions(triples, folder)))
            if distributed.rank() == 0:
                click.echo(f"{count:.0f} label maps in {folder}; there are no labels to score them against")
            return
        found = evaluation.score(model, dataset, head, trimap=True, save_to=folder)
    if distributed.rank():
        return
    result = report(found.scores(), found.trimap_scores(), dataset, net=net, weights=weights, predictions=label_maps,
                    data=data, split=split)
    click.echo(json.dumps(result, indent=2) if as_json else table(result))
    for path in output:
        write_report(path, result)
