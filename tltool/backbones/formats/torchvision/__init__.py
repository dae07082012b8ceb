"""State dicts of torchvision."""
