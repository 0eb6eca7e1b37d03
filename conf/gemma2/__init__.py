"""The groups of ``pkpo-gemma2``. It is a package, so Hydra finds it in a clone and in a wheel."""

from pkpo_sandbox.gemma2.app import GemmaConfig
from pkpo_sandbox.runs.config import store_schema

store_schema("gemma2_schema", GemmaConfig, free=("training",))
