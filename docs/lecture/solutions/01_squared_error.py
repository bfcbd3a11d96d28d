"""The squared error, and the linear output."""
