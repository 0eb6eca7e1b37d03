"""Runs: a config becomes a trained model on disk; finished runs are read into one table."""
