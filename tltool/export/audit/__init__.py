"""The audit: what would keep a model from being exported, found before it is trained."""
