"""What a policy achieves: estimated on groups of attempts, or exactly where the world knows it."""
