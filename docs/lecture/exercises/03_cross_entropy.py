"""Cross-entropy, from ŷ and safely from a_L."""
