"""The configuration tree, importable so that Hydra finds it in a clone and in a wheel alike.

Hydra imports this package before it reads the tree, in a command and in ``compose()`` alike.
"""

from pkpo_sandbox.runs.naming import register

register()
