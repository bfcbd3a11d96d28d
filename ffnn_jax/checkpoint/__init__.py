"""Files that survive: a model in one file, and a training in a folder of checkpoints.

Written whole or not at all, verified when read, never unpickled. docs/reliability.md says what is
promised, and shows how it was tried.
"""

from ffnn_jax.checkpoint.archive import CheckpointError
from ffnn_jax.checkpoint.archives import Checkpoints
from ffnn_jax.checkpoint.folder import Restored
from ffnn_jax.checkpoint.model import load, load_metadata, save
from ffnn_jax.checkpoint.sharded import ShardedCheckpoints

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "Restored",
    "ShardedCheckpoints",
    "load",
    "load_metadata",
    "save",
]
