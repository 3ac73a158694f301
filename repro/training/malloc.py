"""How the C library treats memory that tensors have freed."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h's names
MOST = 2**31 - 1


def keep_freed():
    """Keep what tensors free for the tensors to come, from now on in this whole process (glibc; elsewhere nothing changes).

    Otherwise large blocks go back to the system, which hands them out again page by page and zeroed: a quarter of the time
    of an iteration, whose gradients alone are half a gigabyte.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(M_MMAP_THRESHOLD, MOST)
    mallopt(M_TRIM_THRESHOLD, MOST)
