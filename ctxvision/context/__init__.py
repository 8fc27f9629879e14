"""What predicts and understands phrases: generator, table, text encoder."""
