"""One file by HTTP: resumed where a connection broke, looked at, and compared with its checksum. Needs requests."""

import re
import shutil
import tarfile
import time
from pathlib import Path

import requests
from tqdm import tqdm

from converters import read_caffemodel
from converters.errors import CaffeError, CaffeFileError
from reference.weights import Download
from repro.data.fetch import digest, is_archive

CHUNK = 1 << 16  # bytes; what is lost at most of what came when a connection breaks
TIMEOUT = 10, 60  # seconds to connect, and between bytes


def get(url: str, what: Download, path: Path, known: str | None, retries: int) -> None:
    """Get `url` as the file `path`; FILE.part beside it keeps what came, and the next call goes on from there.

    known: the checksum that it must have, such as "sha256:HEX". A request that brings nothing is made `retries` times
    again. Raises CaffeError where the server does not have the file, the connection keeps failing, or something else came.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        _persist(url, what, part, retries)
    except requests.RequestException as error:
        raise CaffeError(f"{url}: {_reason(error)}; what came is kept, and the next fetch goes on from there") from None
    try:
        _check(url, what, part)
        if known and (found := digest(part, known)) != known:
            raise CaffeError(f"{url}: what came has the checksum {found}, not {known}: it is damaged, or another file")
    except CaffeError:
        part.unlink()
        raise
    part.replace(path)


def _persist(url, what, part, retries):
    failures = 0
    while True:
        had = _size(part)
        try:
            return _get(url, what, part)
        except requests.RequestException as error:
            refused = error.response is not None and error.response.status_code < 500
            # What brings bytes is no failure: a connection may break a hundred times.
            failures = failures + 1 if _size(part) <= had else 1
            if refused or failures > retries:
                raise
            time.sleep(min(0.1 * 2**failures, 30))


def _get(url, what, part):
    """One request: append to `part` what it lacks, or begin anew where the server sends the whole."""
    stamp = part.with_suffix(".stamp")  # what the server called the version that we have the beginning of
    headers = {"Accept-Encoding": "identity"}
    start = _size(part)
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": stamp.read_text()} if stamp.exists() else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing lies beyond what we have: it is not the beginning of this file
            part.unlink()
            raise requests.ConnectionError("the server's file is shorter than what came before")
        response.raise_for_status()
        if response.status_code == 206:
            begin, total = _content_range(response)
            if begin != start:
                part.unlink()
                raise requests.ConnectionError("the server sent another part than was asked for")
        else:
            start, total = 0, _content_length(response)
            part.unlink(missing_ok=True)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if version:
            stamp.write_text(version)
        _receive(response, what, part, start, total)
    if total is not None and _size(part) != total:
        raise requests.ConnectionError(f"the connection ended after {_size(part)} of {total} bytes")
    stamp.unlink(missing_ok=True)


def _receive(response, what, part, start, total):
    expected = what.bytes
    if expected and total and total != expected:
        raise CaffeError(f"{response.url}: has {total} bytes, not {expected}: that is another file")
    free = shutil.disk_usage(part.parent).free
    if total and total - start > free:
        raise CaffeError(f"{part.parent}: {total - start} bytes are to come, {free} are free")
    with part.open("ab") as file, tqdm(desc=what.file, initial=start, total=total, unit="B", unit_scale=True,
                                       disable=None) as progress:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            progress.update(len(chunk))
            if expected and file.tell() > expected:
                raise CaffeError(f"{response.url}: has more than {expected} bytes: that is another file")


def _check(url, what, part):
    """Refuse what is neither a caffemodel nor an archive, such as a page that says where the file has gone."""
    with part.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CaffeError(f"{url}: the server sent a web page in place of the file")
    if is_archive(what):
        if not tarfile.is_tarfile(part):
            raise CaffeError(f"{url}: what the server sent is not a tar archive")
    else:
        try:
            read_caffemodel(part)
        except CaffeFileError as error:
            raise CaffeError(f"{url}: what the server sent is not a caffemodel: {error.reason}") from None


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _content_length(response):
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _content_range(response):
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not found:
        return None, None
    return int(found[1]), int(found[2]) if found[2] != "*" else None


def _reason(error):
    if error.response is not None:
        return f"the server answers {error.response.status_code} ({error.response.reason})"
    return " ".join(str(error).split())
