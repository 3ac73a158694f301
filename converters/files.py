"""Writing files so that no reader ever meets half of one."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converters.errors import CaffeFileError, did_you_mean

FilePath = str | os.PathLike[str]
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: FilePath, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`, on any error removed.

    flush: false leaves the flushing to the system, for what can be made again from another file. The temporary name keeps
    the suffix, since many writers choose their format by it. Raises CaffeFileError where the file cannot be written, as on a
    full disk; what was at `path` before is then as it was.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix="".join(path.suffixes[-2:]))
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes the file private; give it what an ordinary new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if temporary:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def unwritable(path: FilePath, error: OSError) -> CaffeFileError:
    """The CaffeFileError for what the system says of a file that was to be written."""
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "where its folder would be there is a file"
    advice = "make room, or choose another place" if error.errno in FULL else "choose another place"
    return CaffeFileError(path, f"cannot be written: {reason}; {advice}")


def did_you_mean_file(path: FilePath) -> str:
    """"; did you mean 'net.caffemodel'?" of the names beside a file that is not there, or nothing."""
    path = Path(path)
    beside = os.listdir(path.parent) if path.parent.is_dir() else []
    # The same suffix alone does not make names alike.
    return did_you_mean(path.name, [name for name in beside if did_you_mean(path.stem, [Path(name).stem])])
