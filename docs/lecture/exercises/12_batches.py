"""Batches: the mean over N examples, and weights of examples."""
