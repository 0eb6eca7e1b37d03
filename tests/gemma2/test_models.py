"""The models: their refusals, and a tiny model that depends on its seed only."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import torch

from pkpo_sandbox.gemma2.models import PretrainedGemma2, TinyGemma2, number_tokenizer


def test_the_tokenizer_has_a_token_for_each_number():
    tokenizer = number_tokenizer(10)
    # <pad> <bos> <eos> <unk> are 0 to 3, so the number n is token n + 4; 11 is unknown.
    assert tokenizer("3 9 11")["input_ids"] == [1, 7, 13, 3]
    assert tokenizer(["1", "1 2"], padding=True)["input_ids"] == [[0, 1, 5], [1, 5, 6]]
    assert tokenizer.decode([1, 7, 13, 2], skip_special_tokens=True) == "3 9"


def test_a_tiny_model_is_a_function_of_its_seed_and_draws_nothing_else():
    tiny = TinyGemma2(numbers=12, hidden_size=16)
    torch.manual_seed(0)
    expected = torch.rand(2).tolist()
    torch.manual_seed(0)
    models = [tiny.load(seed)[0] for seed in (1, 1, 2)]
    assert torch.rand(2).tolist() == expected
    first, again, other = ([*model.parameters()] for model in models)
    assert first[0].shape == (4 + 12, 16)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"numbers": 0}, "numbers=0.* has sizes that are not integers above 0"),
        ({"hidden_size": 60}, "hidden_size=60 must be a multiple of twice num_attention_heads=4"),
        ({"num_key_value_heads": 3}, "heads=4 must be a multiple of num_key_value_heads=3"),
    ],
)
def test_sizes_that_make_no_model_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        TinyGemma2(**sizes)


def test_the_reference_model_is_of_the_revision_that_is_trained():
    model = PretrainedGemma2("google/gemma-2-2b-it", revision="abc")
    with pytest.raises(ValueError, match="that of the default revision, not abc: give a folder"):
        model.check({"beta": 0.01, "use_cpu": True})
