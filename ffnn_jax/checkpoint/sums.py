"""The digests of all files of a folder, in a file of their own: SHA256SUMS.

Each line is the SHA-256 of a file and its path, as `sha256sum` writes it, so that
`sha256sum --check SHA256SUMS` verifies them too. What is verified here besides is that nothing is
in the folder that has no line: a line that was lost, or changed, is noticed like any other damage.
"""

import hashlib
import os
import pathlib
import stat
from collections.abc import Callable

from ffnn_jax.checkpoint.atomic import sync_folder

NAME = "SHA256SUMS"


def listed(folder: pathlib.Path) -> list[str]:
    """The files in a folder and in those within it, but for SHA256SUMS, in order.

    Raises:
      ValueError: something in it is neither a file nor a folder, such as a symbolic link, or a
        pipe, which would be read without end; or a folder within another is empty.
      OSError: it cannot be looked at.
    """
    names = []
    for path, folders, files in os.walk(folder, onerror=_raise):
        inside = pathlib.Path(path).relative_to(folder)
        for name in (*folders, *files):
            mode = os.lstat(pathlib.Path(path, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ValueError(f"damaged: {(inside / name).as_posix()} is no file")
        if not folders and not files and len(inside.parts) > 1:  # no arrays leave theirs empty
            raise ValueError(f"damaged: {inside.as_posix()} is empty")
        names += [(inside / name).as_posix() for name in files]
    return sorted({*names} - {NAME})


def _raise(error: OSError) -> None:
    raise error


def digests(folder: pathlib.Path, names: list[str]) -> dict[str, str]:
    """The SHA-256 of each of these files, all of whose bytes are on the disk when it returns."""
    found = {}
    for name in names:
        with open(folder / name, "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    return found


def write_sums(folder: pathlib.Path, sums: dict[str, str]) -> None:
    """Writes SHA256SUMS, and brings it and the names in all folders to the disk.

    Raises:
      OSError: it cannot be written, or a file of the folder has no digest.
    """
    if sorted(sums) != listed(folder):
        raise OSError(f"{folder}: what lies there is not what was written")
    with open(folder / NAME, "x", encoding="utf-8", newline="\n") as file:
        file.write(_text(sums))
        file.flush()
        os.fsync(file.fileno())
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(inner)


def check_sums(folder: pathlib.Path, mine: Callable[[int], bool]) -> None:
    """The folder holds the files of its SHA256SUMS and no others, and those that are mine verify.

    Args:
      folder: where they are.
      mine: whether the file of that number, in their order, is to be read.

    Raises:
      ValueError: it does not.
      OSError: a file cannot be read.
    """
    names = listed(folder)  # before anything is opened
    text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
    sums = dict(line.split("  ", 1)[::-1] for line in text.splitlines() if "  " in line)
    if text != _text(sums):
        raise ValueError(f"damaged: {NAME} is not as it is written")
    if names != sorted(sums):
        lost, added = sorted(set(sums) - set(names)), sorted(set(names) - set(sums))
        what = f"{lost[0]} is missing" if lost else f"{added[0]} has no line in {NAME}"
        raise ValueError(f"damaged: {what}")
    for i, name in enumerate(names):
        if not mine(i):
            continue
        with open(folder / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sums[name]:
                raise ValueError(f"damaged: the SHA-256 of {name} is not the one in {NAME}")


def _text(sums: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
