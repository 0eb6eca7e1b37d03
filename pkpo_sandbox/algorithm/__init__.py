"""Policy gradients on groups of attempts, as Stable-Baselines3 algorithms."""
