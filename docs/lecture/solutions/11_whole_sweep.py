"""The whole algorithm, for one example."""
