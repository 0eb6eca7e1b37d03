"""Pass@K Policy Optimization in toy worlds (arXiv 2505.15201).

The public names load on first use, so that ``import pkpo_sandbox`` costs nothing:
the transforms need torch alone, the algorithms Stable-Baselines3 as well.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
