"""The command line: one file a command, thin on top of the Python API."""
