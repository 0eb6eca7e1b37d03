"""The groups of ``pkpo-gemma2``, importable so that Hydra finds them in a clone and in a wheel."""
