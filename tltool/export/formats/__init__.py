"""The formats of exported models, one folder each."""
