"""The numbers of a network explained: the chain rule of a weight, and who is responsible."""
