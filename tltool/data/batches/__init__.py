"""From examples to batches of model inputs."""
