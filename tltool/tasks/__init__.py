"""Tasks and the kinds of target they have: the one place that knows what an answer is."""
