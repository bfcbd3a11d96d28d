"""∇h_k: the gradient with respect to the hidden units."""
