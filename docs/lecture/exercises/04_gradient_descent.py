"""Gradient descent: one step, and the loop."""
