"""From data and minutes to a model: what is worth trying, planned by what each step takes."""
