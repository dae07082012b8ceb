"""A tag for each word of a text: the kind, its files, its schemes, and what decodes it."""
