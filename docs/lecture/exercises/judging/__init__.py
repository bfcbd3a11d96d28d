"""What the judge of the exercises knows: how to run a learner's code, and what goes wrong in it."""
