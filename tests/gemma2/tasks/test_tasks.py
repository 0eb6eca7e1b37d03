"""Shared functions of tasks: prompts that are too long for the context are dropped."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from datasets import Dataset

from pkpo_sandbox.gemma2.models import number_tokenizer
from pkpo_sandbox.gemma2.tasks import within_context


def test_prompts_beyond_the_context_are_dropped_with_a_count():
    data = Dataset.from_dict({"prompt": ["1 2 3", "1 2", "1 2 3 4 5"]})
    kept, dropped = within_context(data, number_tokenizer(10), limit=4)
    assert (kept["prompt"], dropped) == (["1 2 3", "1 2"], 1)


def test_chats_beyond_the_context_are_dropped_with_their_template_counted():
    from tests.gemma2.conftest import TEMPLATE

    tokenizer = number_tokenizer(10)
    tokenizer.chat_template = TEMPLATE
    chats = [[{"role": "user", "content": text}] for text in ("1 2", "1 2 3")]
    kept, dropped = within_context(Dataset.from_dict({"prompt": chats}), tokenizer, limit=5)
    assert (kept["prompt"], dropped) == ([chats[0]], 1)  # <bos> 7 1 2 8
