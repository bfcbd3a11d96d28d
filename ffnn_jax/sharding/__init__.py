"""Layouts of a network over many devices, and what they move."""
