"""A class for each pixel: the kind, its files and layouts, and what people drew as pixels."""
