"""Train Gemma-2 with PKPO on TRL: the transforms of this sandbox for a language model.

``PKPOTrainer`` is TRL's ``GRPOTrainer`` with other advantages. ``pkpo-gemma2`` is its command.
It needs the extra ``pkpo-sandbox[gemma2]``. Importing this package loads no heavy package.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pkpo_sandbox.gemma2.config import PKPOConfig as PKPOConfig
    from pkpo_sandbox.gemma2.trainer import PKPOTrainer as PKPOTrainer

_HOME = {"PKPOConfig": "config", "PKPOTrainer": "trainer"}
_PACKAGES = {
    "gemma2": ("trl", "transformers", "peft", "datasets", "math_verify"),
    "vllm": ("vllm",),
}
__all__ = ["PKPOConfig", "PKPOTrainer", "require_extra"]


def require_extra(extra: str = "gemma2") -> None:
    """Check that the packages of an extra are installed, without loading them.

    :raises ImportError: naming the missing packages and the command to install them
    """
    if missing := [name for name in _PACKAGES[extra] if find_spec(name) is None]:
        pins = "" if extra == "vllm" else "-c constraints.txt "  # vLLM needs an older numpy
        raise ImportError(
            f"{', '.join(missing)} not installed: this needs the extra {extra}, "
            f"pip install {pins}-e '.[{extra}]'"
        )


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra()
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
