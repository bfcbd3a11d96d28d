"""What is wrong with a wrong gradient: the simplest sentence that explains it."""

import numpy as np

from ffnn_jax.gradcheck.report import Diagnosis


def diagnose(found: np.ndarray, truth: np.ndarray, allowed: float) -> Diagnosis:
    """Names the fault of a leaf whose gradient is `found` and ought to be `truth`.

    Args:
      found: the rule's gradient, float64, the shape of the leaf.
      truth: the right one, the same shape.
      allowed: the relative error that counts as equal.
    """
    bad = np.argwhere(~np.isfinite(found))
    if bad.size:
        first = [int(i) for i in bad[0]]
        return Diagnosis(
            "non-finite", f"{len(bad)} of {found.size} entries are, the first at {first}"
        )
    if not np.any(found):
        return Diagnosis("zero", "the rule gives 0 where the gradient is not")
    if not np.any(truth):
        size = np.linalg.norm(found)
        return Diagnosis("wrong", f"the gradient is 0 here, the rule's has the norm {size:.3g}")

    def explains(candidate: np.ndarray) -> bool:
        return bool(np.linalg.norm(found - candidate) <= allowed * np.linalg.norm(candidate))

    factor = float(np.vdot(truth, found) / np.vdot(truth, truth))
    if explains(-truth):
        return Diagnosis("sign", "the rule gives the negative of the gradient")
    if factor != 0 and explains(factor * truth):
        return Diagnosis("scaled", f"the rule gives {factor:.6g} times the gradient")
    if truth.ndim == 2 and truth.shape[0] == truth.shape[1] and explains(truth.T):
        return Diagnosis("transposed", "the rule gives the transpose of the gradient")
    off = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    cosine = factor * np.linalg.norm(truth) / np.linalg.norm(found)
    return Diagnosis("wrong", f"off by {off:.2g} of its norm, at a cosine of {cosine:.3f} to it")
