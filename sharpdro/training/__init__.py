"""The epoch loop, and what surrounds a training step."""
