"""Pass@K Policy Optimization in toy worlds (arXiv 2505.15201).

The public names load on first use, so ``import pkpo_sandbox`` is fast. The transforms need only
torch. The algorithms also need Stable-Baselines3.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
