"""What all formats share: a file written whole or not at all, and packages that may be missing."""

import contextlib
import importlib
import os
import pathlib
import tempfile
from typing import Any


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes the bytes to a file of that name; a crash leaves the old file or the new one.

    A temporary file in the same folder is written, synced to the disk and renamed.

    Raises:
      OSError: the folder does not exist, is full, or cannot be written to.
    """
    target = pathlib.Path(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's file is its owner's alone
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_folder(target.parent)


def _umask() -> int:
    """The bits that new files of this process do not get; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_folder(folder: pathlib.Path) -> None:
    """Makes the new name last, where a folder can be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require(module: str, install: str) -> Any:
    """The module, or an error that says how to install it.

    Args:
      module: its name, for instance `"onnx.helper"`.
      install: what pip is to install, for instance `"ffnn_jax[export]"`.

    Raises:
      ModuleNotFoundError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed; pip install '{install}'", name=package
        ) from None
