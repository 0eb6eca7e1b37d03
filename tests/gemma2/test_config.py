"""Settings: a setting that biases the estimator is refused with a reason."""

import json

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import torch

from pkpo_sandbox import transforms
from pkpo_sandbox.gemma2 import PKPOConfig
from pkpo_sandbox.gemma2.objective import weights_of_scorable
from pkpo_sandbox.schedules import Linear, Step

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing:FutureWarning",  # transformers 5.23 within TRL 1.16
)


def settings(**given):
    fixed = {"output_dir": "unused", "use_cpu": True, "bf16": False, "report_to": "none"}
    fixed |= {"gradient_checkpointing": False, "per_device_train_batch_size": 16}
    return PKPOConfig(**{**fixed, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss_type": "dapo"}, "loss_type='dapo' must be 'dr_grpo' or 'luspo': .* lengths"),
        ({"loss_type": "grpo"}, "loss_type='grpo' must be"),
        ({"loss_type": "bnpo"}, "loss_type='bnpo' must be"),
        ({"scale_rewards": "group"}, "scale_rewards='group' must be 'none': .* cancels k"),
        ({"scale_rewards": True}, "scale_rewards='group' must be 'none'"),
        ({"scale_rewards": "batch"}, "scale_rewards='batch' must be 'none'"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "summed first"),
        ({"mask_truncated_completions": True}, "give truncated ones reward 0"),
        ({"top_p": 0.9}, "top_p=0.9 must be 1.0: .* i.i.d."),
        ({"top_k": 50}, "top_k=50 must be 0: .* i.i.d."),
        ({"min_p": 0.1}, "min_p=0.1 must be None or 0.0: .* i.i.d."),
        ({"repetition_penalty": 1.1}, "repetition_penalty=1.1 must be 1.0: .* i.i.d."),
        ({"vllm_structured_outputs_regex": "a+"}, "must be None: .* i.i.d."),
        ({"generation_kwargs": {"num_beams": 4}}, "generation_kwargs sets num_beams"),
        ({"top_entropy_quantile": 0.2}, "top_entropy_quantile=0.2 must be 1.0"),
        ({"off_policy_mask_threshold": 0.5}, "off_policy_mask_threshold=0.5 must be None"),
        ({"restore_callback_states_from_checkpoint": False}, "would start from 0 on resume"),
        ({"generation_kwargs": {"stop_strings": ["END"]}}, "generation_kwargs sets stop_strings"),
        ({"generation_kwargs": {"stop_token_ids": [5]}}, "sets stop_token_ids, but may hold only"),
        (
            {"use_transformers_continuous_batching": True, "bf16": True},
            "casts the trained weights to 16 bits",
        ),
        ({"neftune_noise_alpha": 5.0}, "its noise differs between sampling and training"),
        ({"remove_unused_columns": True}, "drops the column that tells problems apart"),
        ({"delta": 0.9}, "delta=0.9 clip a ratio of 1"),
        ({"delta": 0.0}, "delta=0.0 clip a ratio of 1"),
        ({"epsilon_high": -0.1}, "epsilon_high=-0.1 and delta=None clip a ratio of 1"),
        ({"max_completion_length": None}, "max_completion_length=None must be a number"),
        ({"max_steps": 0}, "max_steps=0 trains nothing"),
        ({"patience": 0}, "patience=0 must be at least 1"),
        ({"k": lambda remaining: 4}, "checkpoints hold the settings: give a schedule of"),
        ({"k": "four"}, "k = 'four' is a str: pass an int"),
        ({"k": None}, "objective='pkpo' needs k"),
        ({"k": 17}, "objective='pkpo': k = 17 exceeds n = 16"),
        ({"k": 0}, "k = 0 is below 1"),
        ({"k": Step(8, 32, at=0.9)}, "at 9[01] % of training: k = 32 exceeds n = 16"),
        ({"k": 16, "baseline": "loo"}, "baseline 'loo' with k = 16 needs n > k"),
        ({"baseline": "mean"}, "unknown baseline 'mean'"),
        ({"objective": "ppo"}, "objective='ppo' is not a transform: choose one of .*pkpo, "),
        ({"objective": "no.such"}, "cannot be imported"),
        ({"objective": "max_at_k"}, r"objective='max_at_k': .* shape \(1,\)"),
        ({"objective": "rloo"}, "objective='rloo': .* unexpected keyword argument 'k'"),
        ({"objective": "rs_grpo", "k": None}, "missing a required argument: 'beta'"),
    ],
)
def test_a_setting_that_would_bias_the_estimate_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        settings(**{"k": 4, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"beta": 0.01},
        {"num_iterations": 2},
        {"loss_type": "luspo"},
        {"temperature": 0.7},
        {"generation_kwargs": {"stop_token_ids": [5]}, "use_vllm": True},
        {"use_transformers_continuous_batching": True},
        {"delta": 2.0},
        {"epsilon": 0.0},
        {"baseline": "loo"},
        {"k": Linear(16, 1)},
        {"entropy_coef": 0.01},
    ],
)
def test_what_keeps_the_estimate_exact_may_be_set(given):
    assert settings(**{"k": 4, **given}).loss_type in ("dr_grpo", "luspo")


def test_a_config_can_be_logged_with_a_schedule():
    values = json.loads(settings(k=Step(8, 1)).to_json_string())
    assert values["k"] == "Step(start=8, end=1, at=0.5)"


def a_float_of_sb3(progress_remaining: float) -> float:
    """SB3's own schedules give floats only."""
    return 8.0 if progress_remaining > 0.5 else 1.0


def test_a_schedule_that_gives_floats_gives_a_whole_k():
    objective = settings(k=a_float_of_sb3).make_objective()
    assert [objective.at(progress)["k"] for progress in (1.0, 0.0)] == [8, 1]
    rewards = torch.arange(8.0).unsqueeze(0)
    weights = weights_of_scorable(objective, rewards, objective.at(1.0))
    torch.testing.assert_close(weights, transforms.pkpo(rewards, 8))
