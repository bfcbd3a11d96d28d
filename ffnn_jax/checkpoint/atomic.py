"""A file that is replaced whole or not at all, whatever stops the process or the machine.

The bytes go to a temporary file in the same folder, from there to the disk (fsync), and then take
the name in one step (os.replace); the folder, which holds the name, goes to the disk last. Until
that step the old file is there, after it the new one. The temporary file of a process that was
killed lies about until the next write in its folder, which removes it.
"""

import contextlib
import errno
import os
import pathlib
import secrets
import stat
import time
from collections.abc import Callable
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # there is no flock on Windows
    fcntl = None

YOUNG = 60.0  # seconds
PREFIX, SUFFIX = ".ffnn-", ".tmp"  # of the temporary files: by these alone they are known


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file whole, or leaves what was there as it was.

    Args:
      path: the file; of a symbolic link, the one that it points to.
      write: called with a new file, open for writing and reading at its start.

    Raises:
      OSError: the folder is missing or read-only, the disk is full, path is a folder, and so on;
        it has the path, and nothing is left behind.
    """
    target = pathlib.Path(os.path.realpath(path))
    temporary = target.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    try:
        mode = _mode_of(target)
        remove_leftovers(target.parent)
        try:
            with open(temporary, "x+b") as file:
                hold(file)
                if mode is not None:
                    os.chmod(temporary, mode)
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if os.name == "posix":  # while it is held, so that nobody takes it for a dead one's
                    os.replace(temporary, target)
            if os.name != "posix":  # where a file that is open has its name for good
                os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)
    except OSError as error:  # with the name that was given, not that of the temporary file
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _mode_of(target: pathlib.Path) -> int | None:
    """The permissions of the file that is replaced; None where there is none."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no plain file, and is not replaced")
    return stat.S_IMODE(mode)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes our temporary files whose writer lives no more: nobody holds them."""
    for leftover in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError), open(leftover, "rb") as file:
            found = os.fstat(file.fileno())
            if found.st_size == 0 and time.time() - found.st_mtime < YOUNG:
                continue  # its writer is about to hold it
            hold(file)
            leftover.unlink()


def hold(file: Any) -> None:
    """Locks an open file for this process, until it is closed or the process ends.

    Raises:
      BlockingIOError: another one holds it.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_folder(folder: pathlib.Path) -> None:
    """Brings the names in a folder to the disk; on Windows that cannot be asked for."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
