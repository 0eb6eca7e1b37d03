"""Metrics of a policy: estimates from groups of attempts, and the exact values of a world."""
