"""Downloads of data sets and released weights: resumed, checked, unpacked safely, whole under their names or not there."""

import gzip
import re
import shutil
import tarfile
import time
import zlib
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from converters import read_caffemodel
from converters.errors import CaffeError, CaffeFileError
from converters.files import atomic_write

CHECKSUMS = "checksums.txt"  # lines "ALGORITHM:HEX  FILE"
RETRIES = 8
CHUNK = 1 << 16  # bytes; what is lost at most of what came when a connection breaks
TIMEOUT = 10, 60  # seconds to connect, and between bytes
UNPACKED = 20  # an archive may grow so many times, and a GiB besides
GIB = 1 << 30

pooch.get_logger().setLevel("WARNING")


def fetch(name, download, folder, url=None, retries=RETRIES):
    """Fetch a `reference.weights.Download` into a folder, and return its path: the file, or FOLDER/NAME for an archive.

    url: where else to get it, as from a mirror. What is there already is kept, and an interrupted download goes on where it
    was. A checksum that nobody knows is recorded in FOLDER/checksums.txt on first use and holds from then on; one may also
    be put there by hand. Raises CaffeError where the server does not have the file, the connection keeps failing, or what
    came is not what was wanted.
    """
    folder = Path(folder)
    target = destination(name, download, folder)
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    known, url = checksum(download, folder), url or download.url
    try:
        path = Path(pooch.retrieve(url, known, download.file, folder, downloader=Downloader(download, retries)))
    except requests.RequestException as error:
        raise CaffeError(f"{url}: {_reason(error)}; what came is kept, and the next fetch goes on from there") from None
    except CaffeError:
        raise
    except ValueError as error:  # pooch's word on a checksum
        raise CaffeError(f"{url}: {' '.join(str(error).split())}") from None
    found = f"sha256:{pooch.file_hash(path, 'sha256')}"
    if is_archive(download):
        try:
            unpack(path, target)
        except CaffeError:
            path.unlink()  # else the next fetch would take it for the right one
            raise
        path.unlink()
    if known is None:
        _record(folder, download.file, found)
    return target


def destination(name, download, folder):
    """Where `fetch` puts it: FOLDER/NAME for what is unpacked, else FOLDER/FILE."""
    return Path(folder) / (name if is_archive(download) else download.file)


def is_archive(download):
    return download.file.endswith((".tar", ".tgz", ".tar.gz"))


def checksum(download, folder):
    """What a download must have, "md5:HEX" or "sha256:HEX": the published checksum or the folder's; None where unknown."""
    if download.md5:
        return f"md5:{download.md5}"
    path = Path(folder) / CHECKSUMS
    recorded = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return next((words[0] for words in recorded if words[1:] == [download.file]), None)


class Downloader:
    """Pooch's way to get a file, made to go on where it stopped: FILE.part beside the file keeps what came."""

    def __init__(self, download, retries):
        self.download, self.retries = download, retries

    def __call__(self, url, output_file, manager):
        part = Path(output_file).parent / f"{self.download.file}.part"
        failures = 0
        while True:
            had = _size(part)
            try:
                self._get(url, part)
                break
            except requests.RequestException as error:
                refused = error.response is not None and error.response.status_code < 500
                # What brings bytes is no failure: a connection may break a hundred times.
                failures = failures + 1 if _size(part) <= had else 1
                if refused or failures > self.retries:
                    raise
                time.sleep(min(0.1 * 2**failures, 30))
        try:
            self._check(url, part)
        except CaffeError:
            part.unlink()
            raise
        part.replace(output_file)

    def _get(self, url, part):
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
            self._receive(response, part, start, total)
        if total is not None and _size(part) != total:
            raise requests.ConnectionError(f"the connection ended after {_size(part)} of {total} bytes")
        stamp.unlink(missing_ok=True)

    def _receive(self, response, part, start, total):
        wanted = self.download.bytes
        if wanted and total and total != wanted:
            raise CaffeError(f"{response.url}: has {total} bytes, not {wanted}: that is another file")
        free = shutil.disk_usage(part.parent).free
        if total and total - start > free:
            raise CaffeError(f"{part.parent}: {total - start} bytes are to come, {free} are free")
        with part.open("ab") as file, tqdm(desc=self.download.file, initial=start, total=total, unit="B", unit_scale=True,
                                           disable=None) as progress:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
                if wanted and file.tell() > wanted:
                    raise CaffeError(f"{response.url}: has more than {wanted} bytes: that is another file")

    def _check(self, url, part):
        """Refuse what is no caffemodel or archive at all, such as a page that says where the file has gone."""
        with part.open("rb") as file:
            head = file.read(512).lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise CaffeError(f"{url}: the server sent a web page in place of the file")
        if is_archive(self.download):
            if not tarfile.is_tarfile(part):
                raise CaffeError(f"{url}: what the server sent is no tar archive")
        else:
            try:
                read_caffemodel(part)
            except CaffeFileError as error:
                raise CaffeError(f"{url}: what the server sent is no caffemodel: {error.reason}") from None


def unpack(archive, target, most=None):
    """Unpack a tar archive as the folder `target`, which is there when it is whole and not before.

    Nothing is written outside of it: members that would be, links that lead out, devices, and more than `most` bytes (20
    times the archive and a GiB) raise CaffeFileError.
    """
    archive, target = Path(archive), Path(target)
    most = most or UNPACKED * archive.stat().st_size + GIB
    work = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar, tqdm(desc=f"unpacking {target.name}", unit="file", disable=None) as progress:
            for member in tar:
                most -= member.size
                if most < 0:
                    raise CaffeFileError(archive, "unpacks to more than it can honestly hold", where=member.name)
                tar.extract(member, work, filter="data")
                progress.update()
            _require_end(tar, most)
        work.rename(target)
    except tarfile.FilterError as error:
        raise CaffeFileError(archive, f"would write outside its folder: {error}") from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CaffeFileError(archive, f"cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_end(tar, most):
    """Raise ReadError where an archive does not end as it should: tarfile takes any broken header for the end of it.

    Reading on to the end of the file lets gzip compare its checksum.
    """
    tar.fileobj.seek(tar.offset)
    if any(tar.fileobj.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError("it is damaged in the middle")
    while most > 0 and (rest := tar.fileobj.read(CHUNK)):
        most -= len(rest)


def _record(folder, file, found):
    path = folder / CHECKSUMS
    text = path.read_text() if path.exists() else ""
    with atomic_write(path) as temporary:
        temporary.write_text(f"{text}{found}  {file}\n")


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
