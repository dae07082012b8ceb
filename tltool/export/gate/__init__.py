"""The export gate: an artifact, run in a process of its own, against the trained model."""
