"""Finding a head, a backbone or a learning rate before training."""
