"""The configuration tree. It is a package, so Hydra finds it in a clone and in a wheel.

Hydra imports this package before it reads the tree, in a command and in ``compose()``.
"""

from pkpo_sandbox.runs.naming import register

register()
