"""The recipe: its sections, reading one, and telling what is wrong with it."""
