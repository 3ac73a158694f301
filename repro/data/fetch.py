"""Downloads of data sets and released weights: resumed, checked, unpacked safely, whole under their names or not there."""

import gzip
import hashlib
import re
import shutil
import tarfile
import zlib
from pathlib import Path

from tqdm import tqdm

from converters.errors import CaffeError, CaffeFileError
from converters.files import atomic_write
from repro.extras import require

CHECKSUMS = "checksums.txt"  # lines "ALGORITHM:HEX  FILE"
RETRIES = 8
CHUNK = 1 << 16  # bytes
UNPACKED = 20  # an archive may grow so many times, and a GiB besides
BLOCK = 4096  # bytes that a file system takes for any file, so that their number is bounded too
GIB = 1 << 30


def fetch(name, download, folder, url=None, retries=RETRIES):
    """Fetch a `reference.weights.Download` into a folder, and return its path: the file, or FOLDER/NAME for an archive.

    url: where else to get it, as from a mirror. What is there already is kept, and an interrupted download goes on where it
    was. A checksum that nobody knows is recorded in FOLDER/checksums.txt on first use and holds from then on; one may also
    be put there by hand. Raises CaffeError where requests (the extra `fetch`) is not installed, the server does not have the
    file, the connection keeps failing, or something else came.
    """
    folder = Path(folder)
    target = destination(name, download, folder)
    if target.exists():
        return target
    require("fetch", "a download")
    from repro.data.download import get

    folder.mkdir(parents=True, exist_ok=True)
    known, path = checksum(download, folder), folder / download.file
    # An archive that could not be unpacked for want of room, or that was put there by hand, is not fetched again.
    if not path.exists() or known and digest(path, known) != known:
        get(url or download.url, download, path, known, retries)
    found = digest(path)
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
    """What a download must have, such as "sha256:HEX": the published checksum or the folder's; None where unknown."""
    if download.md5:
        return f"md5:{download.md5}"
    path = Path(folder) / CHECKSUMS
    recorded = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    found = next((words[0].lower() for words in recorded if words[1:] == [download.file]), None)
    if found and not re.fullmatch(r"(md5|sha1|sha256|sha512):[0-9a-f]+", found):
        raise CaffeFileError(path, f"'{found}' is not a checksum such as sha256:HEX", where=download.file)
    return found


def digest(path, like="sha256"):
    """A file's checksum, "ALGORITHM:HEX", by the algorithm of `like`, which is one's name or another checksum."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def unpack(archive, target, most=None):
    """Unpack a tar archive as the folder `target`, which is there when it is whole and not before.

    Nothing is written outside of it: members that would be, links that lead out, devices, and more than `most` bytes (20
    times the archive and a GiB), of which each member takes a block even if it is empty, raise CaffeFileError.
    """
    archive, target = Path(archive), Path(target)
    most = most or UNPACKED * archive.stat().st_size + GIB
    work = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar, tqdm(desc=f"unpacking {target.name}", unit="file", disable=None) as progress:
            for member in tar:
                most -= member.size + BLOCK
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
