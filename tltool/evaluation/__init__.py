"""What a model is worth: outputs, metrics, mistakes, baselines."""
