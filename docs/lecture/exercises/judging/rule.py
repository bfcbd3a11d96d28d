"""Exercise 13: a custom_vjp for the whole network, judged by `check_gradients`."""
