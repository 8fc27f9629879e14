"""The engine of training: fit, checkpoints, strategies, batches, stages on disk."""
