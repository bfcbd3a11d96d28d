"""∇a_L: through the output's Jacobian, and in one step."""
