"""The parts of gpu.py in order of worth, each with its limits; a module each."""
