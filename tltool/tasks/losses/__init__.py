"""Training losses: in Keras what it lacks, in NumPy what the solvers of heads minimise."""
