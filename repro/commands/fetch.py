"""repro fetch"""

import click

from repro.commands.options import Named, folder


@click.command()
@click.argument("names", nargs=-1)
@folder
@click.option("--url", multiple=True, type=Named("NAME=URL"), help="where else to get one, as from a mirror")
@click.option("--dry-run", is_flag=True, help="say what would be fetched, and fetch nothing")
def command(names, folder, url, dry_run):
    """Download data sets and released weights by NAME: voc2011, sbd, vgg16, voc-fcn8s ... Without a NAME, list them.

    A download that was cut goes on where it was. Archives are unpacked as FOLDER/NAME. What has no published checksum gets
    one in FOLDER/checksums.txt on first use. Needs requests, the extra `fetch`.

    \b
    repro fetch --dry-run voc2011 sbd vgg16
    repro fetch vgg16 --url vgg16=https://mirror.example/VGG_ILSVRC_16_layers.caffemodel
    """
    import reference
    from reference.weights import DOWNLOADS
    from repro.data.fetch import checksum, destination, fetch

    if not names:
        for name, download in DOWNLOADS.items():
            click.echo(f"{name:24} {download.what}")
        return
    urls, downloads = dict(url), {name: reference.download(name) for name in names}
    for name, download in downloads.items():
        target = destination(name, download, folder)
        if dry_run:
            size = f"{download.bytes} bytes" if download.bytes else "size not published"
            there = ", already there" if target.exists() else ""
            known = checksum(download, folder) or "no checksum known"
            click.echo(f"{name}: {urls.get(name, download.url)} ({size}, {known}) -> {target}{there}")
            continue
        fetch(name, download, folder, urls.get(name))
        click.echo(f"{name}: {target}")
