"""Everything from a recipe to trained weights."""
