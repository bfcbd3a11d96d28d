"""Softmax, and its safety."""
