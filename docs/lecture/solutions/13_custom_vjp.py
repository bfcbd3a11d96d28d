"""A custom_vjp of your own for the whole network."""
