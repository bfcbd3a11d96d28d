"""∇a_k: through g′ of sigmoid, tanh and relu."""
