"""∇ŷ: the gradient with respect to the output units."""
