"""Runs: from a config to a trained model on disk, and back into one table."""
