"""The .tflite file format: reading one with every offset checked, and its metadata."""
