"""`Plan`: how a network is computed, apart from what it computes."""

import dataclasses

import jax
from jax.typing import DTypeLike

from ffnn_jax import checks

IMPLEMENTATIONS = ("xla", "pallas")


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Plan:
    """How a network is computed, apart from what it computes.

    Attributes:
      compute_dtype: the dtype of the factors of every product W h, Wᵀ∇a and ∇a hᵀ, for instance
        `"bfloat16"`; parameters keep their own dtype and sums are taken in it. None: no change.
      keep_every: s; the forward pass keeps one array of every s-th layer for the sweep, which
        computes those between again, the same gradients up to rounding. Memory 1/s + s/L of one
        array a layer, for an eighth to a quarter more time. 1: every layer.
      class_blocks: whether the last layer of a softmax with cross-entropy and classes as y is
        worked off in blocks of classes, so that a_L and ŷ are never whole. None: from 8,192
        classes and 2²² logits (numbers in a_L) on; True: of any number; False: never. It is for
        float32 and float64 and for parameters that are whole on every device, and not for smoothed
        labels or distributions as y: there the last layer is whole, whatever is said here.
      scan_layers: whether `fit` and `train_epoch`, which compile their loops themselves, run over
        equal hidden layers (consecutive, of one width and one activation, at least three) as one
        `lax.scan`, so that they are compiled once and not each; parameters and results are those
        of each layer all the same, up to rounding. 128 layers compile in about half the time; a
        step takes a third to two thirds more. True: they do, and what is in the way is a
        NotImplementedError with the reason. None and False: they do not. It is for `loss` as the
        objective, one device, an optimizer that treats the layers alike and each by itself, as
        sgd, adam and adamw do and clip_by_global_norm does not (this is read from its program),
        and calls from outside of a jit, vmap or grad; without accumulate, dropout, keep_every,
        class_blocks and implementation="pallas". `fit_many` and streams refuse True; everything
        else, a step of yours, `apply`, `loss`, `gradients`, computes each layer by itself.
      implementation: `"xla"`: products and sums by XLA. `"pallas"`: a kernel of `kernels`; what it
        does not take is a NotImplementedError with the reason where the network is used, never
        another way to compute. On CUDA it is compiled; anywhere else Pallas interprets it, which is
        right and slow. None: a kernel on CUDA, where it takes the network and a recorded
        measurement says that it is faster, in a process that sees one device; otherwise XLA.
        `loss`, `apply`, `gradients` and what is made of them have kernels; `forward` and the
        functions in `_autodiff` are the reference and always by XLA. The kernels of a narrow
        network take 1 to 8 hidden layers, widths, inputs and outputs of up to 128 (up to 64 for
        float32 factors where `jax.default_matmul_precision` is "highest"), float32, bfloat16 and
        float16, one device, no dropout_key, no keep_every and no class_blocks; they have no second
        derivative, and `check_gradients` of them needs `reference=loss_autodiff`. On several
        devices say "xla": a mesh of Auto axes that a `jit` gets by in_shardings cannot be seen, so
        it is not refused, and each device may then compute all rows. What `jax.export` writes for
        CUDA with a kernel in it JAX does not serialize; `interop.export_apply` and `export_loss`
        always use XLA. In `fit_many` the kernel is one program a network for a whole epoch; see
        there.

    Raises:
      TypeError: compute_dtype is not a floating dtype, keep_every no int, class_blocks or
        scan_layers none of the three, or implementation no name.
      ValueError: keep_every below 1, or an unknown implementation.
    """

    compute_dtype: DTypeLike | None = None
    keep_every: int = 1
    class_blocks: bool | None = None
    scan_layers: bool | None = None
    implementation: str | None = None

    def __post_init__(self) -> None:
        checks.check_switch("class_blocks", self.class_blocks)
        checks.check_switch("scan_layers", self.scan_layers)
        object.__setattr__(
            self, "keep_every", checks.check_positive_int("keep_every", self.keep_every)
        )
        if self.implementation is not None:
            checks.check_name("implementation", self.implementation, IMPLEMENTATIONS)
        if self.compute_dtype is not None:
            dtype = checks.check_float_dtype("compute_dtype", self.compute_dtype)
            object.__setattr__(self, "compute_dtype", dtype.name)
