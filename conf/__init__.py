"""The configuration tree, importable so that Hydra finds it in a clone and in a wheel alike."""
