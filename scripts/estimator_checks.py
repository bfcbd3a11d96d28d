"""scikit-learn's own checks of FFNNClassifier and FFNNRegressor, all of them, for each solver.

The tests run them with lbfgs, which compiles little, and a few with adam; this takes minutes:

  python scripts/estimator_checks.py
"""

import sys
import time
import warnings
from collections import Counter

from sklearn.utils.estimator_checks import check_estimator

from ffnn_jax.interop import FFNNClassifier, FFNNRegressor


def main() -> int:
    """Prints the counts, and each check that did not pass; returns how many failed."""
    warnings.simplefilter("ignore")
    failed = 0
    for kind in (FFNNClassifier, FFNNRegressor):
        for solver in ("lbfgs", "adam", "sgd"):
            began = time.perf_counter()
            results = check_estimator(kind(solver=solver), on_fail=None, on_skip=None)
            counts = Counter(result["status"] for result in results)
            seconds = time.perf_counter() - began
            print(f"{kind.__name__} {solver}: {dict(counts)}, {seconds:.0f} s", flush=True)
            for result in results:
                if result["status"] != "passed":
                    why = str(result["exception"]).strip().splitlines()[0]
                    print(f"  {result['status']}: {result['check_name']}: {why}")
            failed += counts["failed"]
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
