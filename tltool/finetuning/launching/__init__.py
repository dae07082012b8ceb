"""Starting the workers of one training: here, under Slurm, on Kubernetes or on Ray."""
