"""Pictures of a network that need nothing but a browser: SVG and HTML written by hand.

`draw_network` is the network with the numbers of one example; `write_backward_page` the backward
pass, step by step.
"""

from ffnn_jax.diagram.page import write_backward_page
from ffnn_jax.diagram.picture import draw_network

__all__ = ["draw_network", "write_backward_page"]
