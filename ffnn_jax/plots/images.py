"""Images, pixel by pixel."""

from typing import TYPE_CHECKING

import numpy as np

from ffnn_jax.plots.canvas import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def picture(image: np.ndarray, low: float, high: float, *, map_name: str = "gray") -> "Figure":
    """One image, each pixel a square, and nothing around it.

    Args:
      image: (height, width), or (height, width, 3 or 4) in colours.
      low, high: the values that are drawn as the darkest and the brightest.
      map_name: matplotlib's name of the colours of an image without.

    Returns:
      The figure.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    tall, wide = image.shape[:2]
    zoom = max(1, round(96 / max(tall, wide)))  # pixels of the drawing for one of the image
    shade = np.clip((image - low) / (high - low if high > low else 1), 0, 1)
    with style():
        figure = Figure(figsize=(wide * zoom / 96, tall * zoom / 96), dpi=96)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(shade, cmap=map_name, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        return figure
