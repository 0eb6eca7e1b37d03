# pyright: reportMissingImports=false
# (transformers comes with an optional extra: types are checked where it is installed.)
"""flex_attention for Gemma-2, where PyTorch's own choice of a kernel fails."""

from typing import Any

BLOCK = 128  # queries per block of an attention mask
RECOMPILATIONS = 64  # for prompts, single tokens and training, with both masks of Gemma-2


def register_flex_attention() -> None:
    """Make ``attn_implementation="flex_attention"`` use :func:`flex_attention` in this process."""
    from torch.compiler import config
    from transformers import AttentionInterface

    AttentionInterface.register("flex_attention", flex_attention)
    # Above this limit PyTorch stops compiling flex_attention, which then needs as much memory as
    # eager attention.
    config.recompile_limit = max(config.recompile_limit, RECOMPILATIONS)


def flex_attention(module: Any, query: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
    """The ``flex_attention`` of transformers, with a kernel that works for every prompt length.

    For fewer than 128 queries PyTorch uses its decoding kernel. This kernel puts the queries of all
    heads that share a key into one block, which must not be larger than the mask's block. Gemma-2
    has two heads per key, so prompts of 65 to 127 tokens raise ``NoValidChoicesError`` (seen with
    PyTorch 2.11). For these prompts this function forces the general kernel.

    :param query: (batch, heads, queries, head size)
    :param key: (batch, key heads, keys, head size)
    """
    from transformers.integrations.flex_attention import flex_attention_forward

    queries, sharing = query.shape[2], query.shape[1] // key.shape[1]
    if queries < BLOCK < queries * sharing:
        options = kwargs.get("kernel_options") or {}
        kwargs["kernel_options"] = {**options, "FORCE_USE_FLEX_ATTENTION": True}
    return flex_attention_forward(module, query, key, *args, **kwargs)
