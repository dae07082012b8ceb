"""LiteRT (.tflite): writing, running and reading it."""
