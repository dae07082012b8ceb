"""SavedModel: writing, running and reading it."""
