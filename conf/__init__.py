"""The configuration tree, importable so that Hydra finds it in a clone and in a wheel alike.

Hydra imports this package before it reads the tree, in a command and in ``compose()`` alike. So
what the tree needs beside its files is stored here: the schema of ``pkpo-train``, and ``run_id``.
"""

from omegaconf import OmegaConf

from pkpo_sandbox.runs.config import TrainConfig, store_schema
from pkpo_sandbox.runs.naming import run_id

store_schema("schema", TrainConfig, ("env.kwargs", "algorithm.policy_kwargs", "callbacks"))
OmegaConf.register_new_resolver("run_id", run_id, replace=True)
