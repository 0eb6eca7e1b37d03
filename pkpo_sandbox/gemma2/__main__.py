"""``python -m pkpo_sandbox.gemma2`` is ``pkpo-gemma2``."""

from pkpo_sandbox.gemma2.app import main

if __name__ == "__main__":
    main()
