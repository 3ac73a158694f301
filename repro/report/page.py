"""A run's report as a page."""

import reference
from converters.files import atomic_write
from repro.miniature.schedule import BANNER
from repro.pages import render
from repro.report.artifacts import worst_first
from repro.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, learning_curves
from repro.report.gallery import colours, items
from repro.report.run import read_run
from repro.scoring.tables import TITLES


def write_report(folder, path=None):
    """Write the report of the run in `folder` to `path` (default: FOLDER/report.html); returns the path.

    Raises CaffeError where the folder holds no run, or a run of which something is missing.
    """
    run = read_run(folder)
    path = path or run.folder / "report.html"
    text = render(
        "report/report.html", run=run, banner=BANNER, titles=TITLES, tables=[_table(run, head) for head in run.heads],
        matrices=[(head, stage, _shares(stage.evaluation[head])) for head in run.heads for stage in run.stages],
        curves=list(zip(run.stages, learning_curves([stage.log for stage in run.stages]), strict=True)),
        frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        items=items(run), colours=colours(run.stages[-1].evaluation[run.heads[0]]["classes"]), images=_images(run),
        environments=_environments(run),
        files={name: file for stage in run.stages for name, file in stage.result["files"].items()})
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _table(run, head):
    """(head, [(stage, ours in percent, the published row or None), ...])."""
    rows = [(stage, {name: 100 * stage.scores(head)[name] for name in TITLES},
             reference.paper.published(stage.net, head or None) if run.beside_the_paper else None) for stage in run.stages]
    return head, rows


def _shares(evaluation):
    """The rows of a confusion matrix in percent of the true class: [(class, [share, ...] or None), ...]."""
    return [(name, [100 * count / sum(row) for count in row] if sum(row) else None)
            for name, row in zip(evaluation["classes"], evaluation["confusion"], strict=True)]


def _images(run):
    """[(id, [mean IU of each stage])] of every image, the last stage's worst first."""
    head = run.heads[0]
    scored = [stage.evaluation[head]["images"] for stage in run.stages]
    return [(id, [images[id]["mean_iu"] for images in scored]) for id in worst_first(scored[-1])]


def _environments(run):
    """[(names of the stages, environment)], stages that were made in the same one together."""
    found = []
    for stage in run.stages:
        environment = stage.result["environment"]
        same = next((names for names, other in found if other == environment), None)
        if same is None:
            found.append(([stage.name], environment))
        else:
            same.append(stage.name)
    return found
