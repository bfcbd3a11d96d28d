"""The peers of peers.py by name: one class each, all made and called as `task.Peer` says."""

from peer_loops.in_c import Reference
from peer_loops.off_jax import NumPy, ScikitLearn, Torch, TorchCompiled
from peer_loops.on_flax import NNX, Linen
from peer_loops.on_jax import Equinox, Haiku, Keras, Ours, OursAutodiff
from peer_loops.task import Peer

PEERS: dict[str, type[Peer]] = {
    "ours": Ours,
    "autodiff": OursAutodiff,
    "linen": Linen,
    "nnx": NNX,
    "equinox": Equinox,
    "haiku": Haiku,
    "keras": Keras,
    "sklearn": ScikitLearn,
    "torch": Torch,
    "torch.compile": TorchCompiled,
    "numpy": NumPy,
    "C": Reference,
}
