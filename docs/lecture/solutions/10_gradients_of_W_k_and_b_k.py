"""∇W_k and ∇b_k: and now talk to the weights."""
