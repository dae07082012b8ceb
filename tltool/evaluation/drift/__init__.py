"""Whether rows are like those that a model was measured on."""
