"""`python -m ffnn_jax`."""

import sys

from ffnn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
