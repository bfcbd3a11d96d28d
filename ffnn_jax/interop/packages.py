"""Packages that may be missing."""

import importlib
from typing import Any


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
