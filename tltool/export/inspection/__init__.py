"""What is in an exported model, read without running it."""
