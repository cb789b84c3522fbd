"""Training: the trainer, its optimiser, checkpoints, log and the supervisor. Importing this imports nothing."""
