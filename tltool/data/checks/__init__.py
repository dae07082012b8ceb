"""What is wrong or odd with examples: broken files, duplicates, uneven classes."""
