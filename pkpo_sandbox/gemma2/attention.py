# pyright: reportMissingImports=false
# (transformers comes with an optional extra: types are checked where it is installed.)
"""flex_attention where PyTorch's own choice of a kernel fails for Gemma-2."""

from typing import Any

BLOCK = 128  # queries in a block of an attention mask
RECOMPILATIONS = 64  # prompts, single tokens and training, each with both kinds of Gemma-2's masks


def register_flex_attention() -> None:
    """Let ``attn_implementation="flex_attention"`` mean :func:`flex_attention` in this process."""
    from torch.compiler import config
    from transformers import AttentionInterface

    AttentionInterface.register("flex_attention", flex_attention)
    # Beyond its limit PyTorch would not compile flex_attention any more, and it then takes the
    # memory of eager attention.
    config.recompile_limit = max(config.recompile_limit, RECOMPILATIONS)


def flex_attention(module: Any, query: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
    """The ``flex_attention`` of transformers, with a kernel that exists for every prompt's length.

    For less than 128 queries PyTorch takes its kernel for decoding. That kernel holds the queries
    of all heads that share a key in one block, which may not be larger than the mask's. Gemma-2
    has two heads for each key, so prompts of 65 to 127 tokens raise ``NoValidChoicesError`` (seen
    with PyTorch 2.11). Those take the general kernel here.

    :param query: (batch, heads, queries, head size)
    :param key: (batch, heads that are keys, keys, head size)
    """
    from transformers.integrations.flex_attention import flex_attention_forward

    queries, sharing = query.shape[2], query.shape[1] // key.shape[1]
    if queries < BLOCK < queries * sharing:
        options = kwargs.get("kernel_options") or {}
        kwargs["kernel_options"] = {**options, "FORCE_USE_FLEX_ATTENTION": True}
    return flex_attention_forward(module, query, key, *args, **kwargs)
