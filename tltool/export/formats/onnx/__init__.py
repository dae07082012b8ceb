"""ONNX: writing, running and reading it."""
