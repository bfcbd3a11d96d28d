"""The chain rule in a deep but thin network: ∂ℒ/∂W_111, factor by factor."""
