"""From a file of rows to a trained model: what `ffnn train` and `ffnn predict` do.

tables → values → preparation → decisions → sources → settings → models → figures → experiment →
run_folder → trainer, in reading order.
"""

from ffnn_jax.tabular.models import Model, load_model
from ffnn_jax.tabular.sources import read_csv
from ffnn_jax.tabular.tables import TableError, read_table

__all__ = ["Model", "TableError", "load_model", "read_csv", "read_table"]
