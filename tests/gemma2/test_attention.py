"""flex_attention: the kernel for each prompt length. The kernels themselves need a GPU."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import torch
from torch.compiler import config
from transformers import AttentionInterface
from transformers.integrations import flex_attention as library

from pkpo_sandbox.gemma2 import attention


@pytest.mark.parametrize(
    ("queries", "heads", "keys", "general"),
    [
        (1, 8, 4, False),
        (64, 8, 4, False),
        (65, 8, 4, True),
        (127, 8, 4, True),
        (128, 8, 4, False),
        (127, 8, 8, False),
    ],
)
def test_prompts_for_which_the_decoding_kernel_is_too_small_take_the_general_one(
    queries, heads, keys, general, monkeypatch
):
    def forward(*args, **kwargs):
        return kwargs.get("kernel_options")

    monkeypatch.setattr(library, "flex_attention_forward", forward)
    query, key = torch.zeros(1, heads, queries, 2), torch.zeros(1, keys, queries, 2)
    options = attention.flex_attention(None, query, key, key, None, kernel_options={"a": 1})
    assert options == {"a": 1} | ({"FORCE_USE_FLEX_ATTENTION": True} if general else {})


def test_the_name_means_this_function_once_it_is_registered(monkeypatch):
    mapping = dict(AttentionInterface._global_mapping)
    monkeypatch.setattr(AttentionInterface, "_global_mapping", mapping)
    monkeypatch.setattr(config, "recompile_limit", 8)
    attention.register_flex_attention()
    assert AttentionInterface()["flex_attention"] is attention.flex_attention
    assert config.recompile_limit == attention.RECOMPILATIONS
