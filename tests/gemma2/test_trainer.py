"""PKPO on TRL against definitions: weights by subsets, the gradient by plain forward passes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import torch
from transformers import TrainerCallback
from trl import GRPOTrainer

from pkpo_sandbox.gemma2.metrics import SolvedProblems
from pkpo_sandbox.gemma2.models import TinyGemma2
from pkpo_sandbox.schedules import Step

from .conftest import LENGTH, by_definition, grouped, reward, score

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing:FutureWarning",  # transformers 5.23 within TRL 1.16
)


def check_advantages(rows, k, n, groups):
    """Advantages must be n times the weights of the definition, whatever was shuffled."""
    by_prompt = grouped(rows)
    assert len(by_prompt) == groups
    seen = 0
    for answers, advantages in by_prompt.values():
        rewards = [score(answer) for answer in answers]
        assert len(rewards) == n
        expected = [n * weight for weight in by_definition(rewards, k)]
        assert advantages == pytest.approx(expected, abs=1e-6)
        seen += len(set(rewards)) > 1
    assert seen > 0, "all groups were constant, which shows nothing"


@pytest.mark.parametrize("k", [1, 4, 8])
def test_the_advantages_that_reach_the_loss_are_n_times_the_weights(watched, k):
    trainer = watched(k=k)
    trainer.train()
    check_advantages(trainer.rows[0], k, n=8, groups=3)
    logged = list(trainer._logs["advantages"])
    assert sorted(logged) == pytest.approx(sorted(row[2] for row in trainer.rows[0]))


class Gradient(TrainerCallback):
    """Keeps the gradient that the optimizer is about to use."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.of = {
            name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
        }


@pytest.mark.parametrize(
    ("k", "settings"),
    [
        (1, {}),
        (4, {}),
        (8, {}),
        (4, {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 2}),
        # Two generations of three groups for one update, as paper_math has four of four.
        (
            4,
            {
                "per_device_train_batch_size": 8,
                "gradient_accumulation_steps": 6,
                "steps_per_generation": 3,
            },
        ),
        (4, {"loss_type": "luspo"}),
        (4, {"loss_type": "luspo", "importance_sampling_level": "sequence"}),
        (4, {"temperature": 0.7}),
    ],
)
def test_the_gradient_of_an_update_is_the_brute_force_one(watched, k, settings):
    """Mean over groups of Σ_i s_i ∇log p(x_i), one unpadded forward pass an attempt."""
    gradient = Gradient()
    trainer = watched(k=k, trainer={"callbacks": [gradient]}, **settings)
    start = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()

    model = trainer.model
    model.load_state_dict(start, strict=False)
    model.zero_grad()
    temperature = settings.get("temperature", 1.0)
    sequences: dict[str, list[tuple[list[int], int, str]]] = {}
    for batch in trainer.batches:
        for row in range(len(batch["advantages"])):
            prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()
            answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()
            text = trainer.processing_class.decode(answer, skip_special_tokens=True)
            sequences.setdefault(str(prompt), []).append((prompt + answer, len(prompt), text))
    objective = torch.zeros(())
    for group in sequences.values():
        weights = by_definition([score(text) for *_, text in group], k)
        for (ids, length, _), weight in zip(group, weights, strict=True):
            logits = model(torch.tensor([ids])).logits[0] / temperature
            log_p = logits.log_softmax(-1)[range(length - 1, len(ids) - 1), ids[length:]]
            objective = objective + weight * log_p.sum() / len(sequences)
    scale = 1 if settings.get("loss_type") == "luspo" else LENGTH
    (-objective / scale).backward()

    assert len(sequences) == (6 if "steps_per_generation" in settings else 3)
    assert gradient.of.keys() == {n for n, p in model.named_parameters() if p.grad is not None}
    size = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    assert size > 1e-4
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient.of[name], parameter.grad, rtol=1e-3, atol=1e-5 * size)


@pytest.mark.parametrize(
    ("objective", "kwargs"),
    [
        ("reinforce", {}),
        ("rloo", {}),
        ("grpo", {"objective_kwargs": {"eps": 1e-3}}),
        ("rs_grpo", {"objective_kwargs": {"beta": 4.0}}),
        ("tail_rl", {}),
        ("pkpo_sandbox.transforms.dr_grpo", {}),
    ],
)
def test_the_other_objectives_by_name(watched, objective, kwargs):
    from pkpo_sandbox import transforms

    trainer = watched(objective=objective, **kwargs)
    trainer.train()
    transform = getattr(transforms, objective.rpartition(".")[2])
    for answers, advantages in grouped(trainer.rows[0]).values():
        rewards = torch.tensor([score(answer) for answer in answers])
        expected = 8 * transform(rewards, **kwargs.get("objective_kwargs", {}))
        assert advantages == pytest.approx(expected.tolist(), abs=1e-5)


def test_unscorable_attempts_leave_their_group(watched):
    """None where the answer starts with an odd number; a prompt of its own is never scored."""

    def partly(prompts, completions, **_):
        return [
            None if prompt == "0" or unscorable(answer) else score(answer)
            for prompt, answer in zip(prompts, completions, strict=True)
        ]

    def unscorable(answer: str) -> bool:
        return bool(answer) and int(answer.split()[0]) % 2 == 1

    trainer = watched(prompts=["0", "1", "2"], reward_funcs=partly, k=2)
    trainer.train()
    groups = grouped(trainer.rows[0])
    assert groups["0"][1] == [0.0] * 8
    for prompt in ("1", "2"):
        answers, advantages = groups[prompt]
        kept = [i for i, answer in enumerate(answers) if not unscorable(answer)]
        assert 2 <= len(kept) < 8
        weights = by_definition([score(answers[i]) for i in kept], 2)
        expected = dict(zip(kept, weights, strict=True))
        assert advantages == pytest.approx([8 * expected.get(i, 0.0) for i in range(8)], abs=1e-6)


def test_two_reward_functions_are_weighted_and_summed_before_the_transform(watched):
    def length(prompts, completions, **_):
        return [float(len(answer.split())) for answer in completions]

    trainer = watched(reward_funcs=[reward, length], reward_weights=[1.0, 0.5])
    trainer.train()
    for answers, advantages in grouped(trainer.rows[0]).values():
        rewards = [score(answer) + 0.5 * len(answer.split()) for answer in answers]
        expected = [8 * weight for weight in by_definition(rewards, 4)]
        assert advantages == pytest.approx(expected, abs=1e-5)


def test_k_follows_its_schedule(watched):
    trainer = watched(k=Step(8, 1, at=0.5), max_steps=4)
    trainer.train()
    assert [log["k"] for log in trainer.state.log_history if "k" in log] == [8, 8, 1, 1]
    for rows, k in zip(trainer.rows, (8, 8, 1, 1), strict=True):
        check_advantages(rows, k, n=8, groups=3)


def test_batches_that_are_reused_keep_their_weights(watched):
    trainer = watched(max_steps=4, num_iterations=2, steps_per_generation=2, beta=0.0, k=8)
    trainer.train()
    batch = [row for rows in trainer.rows[:2] for row in rows]
    check_advantages(batch, 8, n=8, groups=6)
    assert trainer.rows[:2] == trainer.rows[2:]


def test_conversational_prompts_get_the_same_weights(watched):
    prompts = [[{"role": "user", "content": str(i)}] for i in range(6)]
    trainer = watched(prompts=prompts, chat=True)
    trainer.train()
    assert all(row[0].startswith("7 ") and row[0].endswith(" 8") for row in trainer.rows[0])
    check_advantages(trainer.rows[0], 4, n=8, groups=3)


def test_lora_trains_its_adapters_alone(watched):
    from peft import LoraConfig

    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = watched(max_steps=2, trainer={"peft_config": lora})
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    check_advantages(trainer.rows[0], 4, n=8, groups=3)
    changed = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all("lora_" in name for name in changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [("min_p", 0.9), ("typical_p", 0.2), ("no_repeat_ngram_size", 2), ("suppress_tokens", [5])],
)
def test_what_a_model_brings_along_must_not_bend_its_sampling(watched, monkeypatch, name, value):
    original = TinyGemma2.load

    def load(self, seed):
        model, *rest = original(self, seed)
        setattr(model.generation_config, name, value)
        return model, *rest

    monkeypatch.setattr(TinyGemma2, "load", load)
    with pytest.raises(ValueError, match=rf"generation_config sets {name}.* i\.i\.d\. sample"):
        watched()


def test_dropout_is_refused_unless_it_is_off(watched):
    from peft import LoraConfig

    lora = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.1, task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match=r"dropout, drawn anew .* set disable_dropout=True"):
        watched(trainer={"peft_config": lora})
    watched(trainer={"peft_config": lora}, disable_dropout=True).train()


class StandIn:
    """In place of TRL's vLLM engine: samples from the trained model, one token at a time."""

    def __init__(self, model, max_completion_length, **kwargs):
        self.model, self.length = model, max_completion_length
        self.vllm_client = self
        self.synced = 0

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def sync_weights(self):
        self.synced += 1

    @torch.no_grad()
    def generate(self, prompts, images, num_generations, profiler):
        answers, log_ps = [], []
        for prompt in prompts:
            answer, log_p = [], []
            while len(answer) < self.length and 2 not in answer:  # the end of a text
                logits = self.model(torch.tensor([prompt + answer])).logits[0, -1]
                token = int(logits.softmax(-1).multinomial(1))
                answer.append(token)
                log_p.append([float(logits.log_softmax(-1)[token])])
            answers.append(answer)
            log_ps.append(log_p)
        return prompts, answers, log_ps, None


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_a_vllm_engine_generates_and_the_weights_are_the_same(watched, monkeypatch, mode):
    from trl.trainer import grpo_trainer

    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", StandIn)
    trainer = watched(max_steps=2, use_vllm=True, vllm_mode=mode)
    trainer.train()
    assert trainer.vllm_generation.synced == 2
    for rows in trainer.rows:
        check_advantages(rows, 4, n=8, groups=3)
    for batch in trainer.batches:  # engine and model agree, so nothing is corrected
        torch.testing.assert_close(
            batch["importance_sampling_ratio"], torch.ones(24, 1), rtol=1e-3, atol=1e-3
        )


def test_the_seed_outlives_that_of_an_engine_in_the_same_process(watched, monkeypatch):
    from trl.trainer import grpo_trainer

    class Seeded(StandIn):  # as vLLM is, with the rank of the process
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            torch.manual_seed(0)

    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", Seeded)
    draws = []
    for seed in (1, 2, 1):
        watched(use_vllm=True, seed=seed)
        draws.append(torch.rand(4).tolist())
    assert draws[0] == draws[2] != draws[1]


@pytest.mark.parametrize("at", [3, 4, 5])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(watched, at):
    """Within the first epoch of four updates, at its end, and in the second."""
    settings = {"k": Step(8, 1, at=0.75), "max_steps": 6, "solved_at": 0.75}
    whole = watched(folder="a", save_strategy="steps", save_steps=at, **settings)
    whole.train()
    resumed = watched(folder="b", **settings)
    resumed.train(resume_from_checkpoint=str(Path(whole.args.output_dir) / f"checkpoint-{at}"))

    def curve(trainer):
        timings = ("step_time", "train_runtime", "train_samples_per_second", "train_loss")
        timings += ("train_steps_per_second", "total_flos")
        history = trainer.state.log_history
        return [{k: v for k, v in log.items() if k not in timings} for log in history]

    def solved(trainer):
        callbacks = trainer.callback_handler.callbacks
        (callback,) = (c for c in callbacks if isinstance(c, SolvedProblems))
        return callback.solved

    assert resumed.rows == whole.rows[at:]
    assert curve(resumed) == curve(whole)
    assert solved(resumed) == solved(whole) != []
    rates = [log["rollout/solved"] for log in curve(whole) if "rollout/solved" in log]
    assert rates == sorted(rates)
    assert rates[-1] == len(solved(whole)) / 12
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_other_data_is_refused(watched):
    first = watched(save_strategy="steps", save_steps=1)
    first.train()
    other = watched(prompts=[str(i) for i in range(7)], max_steps=2)
    with pytest.raises(ValueError, match=r"the checkpoint is of 12 problems, but .* has 7"):
        other.train(resume_from_checkpoint=str(Path(first.args.output_dir) / "checkpoint-1"))


def test_the_solve_rate_counts_the_problems_that_were_solved(watched):
    trainer = watched(max_steps=3, solved_at=1.0)
    trainer.train()
    solved = set()
    rates = []
    for rows in trainer.rows:
        solved |= {prompt for prompt, answer, _ in rows if score(answer) >= 1}
        rates.append(len(solved) / 12)
    assert [log["rollout/solved"] for log in trainer.state.log_history[:-1]] == rates
    assert rates[-1] > 0


def test_training_stops_when_the_solve_rate_has_stood_still(watched):
    """No problem is ever solved, so the rate stands still from the start."""
    trainer = watched(max_steps=9, solved_at=2.0, patience=3)
    trainer.train()
    assert trainer.state.global_step == 3
    trainer = watched(max_steps=4, solved_at=0.0, patience=3)  # 3 of 12 problems an update
    trainer.train()
    assert trainer.state.global_step == 4


def test_evaluation_measures_every_group_alike_and_trains_nothing(watched):
    """Five groups of four in batches of two groups: the last batch is smaller."""
    from datasets import Dataset

    prompts = Dataset.from_dict({"prompt": [str(i) for i in range(5)]})
    trainer = watched(
        k=8,
        num_generations_eval=4,
        per_device_eval_batch_size=8,
        trainer={"eval_dataset": prompts},
        solved_at=0.75,
    )
    trainer.train()
    trainer.rows.clear()
    trainer.evaluate()
    metrics = next(log for log in trainer.state.log_history[::-1] if "eval_max_at_1" in log)
    groups = grouped([row for rows in trainer.rows for row in rows])
    assert len(groups) == 5
    rewards = torch.tensor([[score(a) for a in answers] for answers, _ in groups.values()])
    correct = (rewards >= 0.75).double()
    assert metrics["eval_max_at_1"] == pytest.approx(rewards.mean().item(), abs=1e-6)
    assert metrics["eval_max_at_4"] == pytest.approx(rewards.amax(1).mean().item(), abs=1e-6)
    assert metrics["eval_pass_at_1"] == pytest.approx(correct.mean().item(), abs=1e-6)
    assert metrics["eval_pass_at_4"] == pytest.approx(correct.amax(1).mean().item(), abs=1e-6)
    error = correct.mean(1).std().item() / 5**0.5
    assert metrics["eval_pass_at_1_sem"] == pytest.approx(error, abs=1e-6)
    assert "eval_rollout/solved" not in metrics


def test_evaluation_batches_of_broken_groups_are_refused(watched):
    from datasets import Dataset

    prompts = Dataset.from_dict({"prompt": ["1"]})
    with pytest.raises(ValueError, match="batch of 8 attempts does not hold whole groups of 3"):
        watched(
            num_generations_eval=3,
            per_device_eval_batch_size=8,
            trainer={"eval_dataset": prompts},
        )


def test_a_tampered_advantage_trips_the_wire(watched, monkeypatch):
    original = GRPOTrainer._generate_and_score_completions

    def shifted(self, inputs):
        output = original(self, inputs)
        return {**output, "advantages": output["advantages"].roll(1)}

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", shifted)
    trainer = watched()
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with pytest.raises(RuntimeError, match="lays its rows out in another way"):
        trainer.train()
    assert all(map(torch.equal, before, trainer.model.parameters()))


def test_scaled_advantages_trip_the_wire(watched):
    trainer = watched()
    trainer.scale_rewards = "group"
    with pytest.raises(RuntimeError, match="not g - mean g"):
        trainer.train()


def test_rows_in_another_order_trip_the_wire(watched, monkeypatch):
    class Interleaved(torch.utils.data.Sampler):
        def __iter__(self):
            return iter([i for _ in range(8) for i in range(3)])

        def __len__(self):
            return 24

    monkeypatch.setattr(GRPOTrainer, "_get_train_sampler", lambda *_: Interleaved())
    with pytest.raises(RuntimeError, match="a group holds attempts at several problems"):
        watched().train()


def test_data_that_do_not_fill_a_batch_are_refused(watched):
    with pytest.raises(ValueError, match="2 prompts, but a generation batch takes 3"):
        watched(prompts=["1", "2"])


def test_prompts_that_would_never_be_reached_are_refused(watched):
    prompts = [str(i) for i in range(7)]
    with pytest.raises(ValueError, match="would never reach the last 1 of 7 prompts"):
        watched(prompts=prompts, shuffle_dataset=False)
    watched(prompts=prompts[:6], shuffle_dataset=False)


def test_the_same_seed_trains_the_same_model(watched):
    weights = []
    for seed in (1, 1, 2):
        trainer = watched(max_steps=2, seed=seed)  # which seeds the sampling, so one at a time
        trainer.train()
        weights.append([p.detach() for p in trainer.model.parameters()])
    first, again, other = weights
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def two_processes(folder: Path, *launcher: str) -> list[dict]:
    """What each of two processes saw; ``launcher`` is what runs the script under torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    torchrun += ["--master_port=0", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("two_processes.py")
    result = subprocess.run(
        [*torchrun, *launcher, str(script), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def check_straddling(ranks: list[dict]) -> None:
    """Twelve rows a process, groups of eight: the second of three groups lies on both."""
    assert [rank["world_size"] for rank in ranks] == [2, 2]
    for step in (0, 1):
        prompts = [{row[0] for row in rank["rows"][step]} for rank in ranks]
        assert len(prompts[0] & prompts[1]) == 1, "no group straddles the processes"
        rows = [tuple(row) for rank in ranks for row in rank["rows"][step]]
        check_advantages(rows, 4, n=8, groups=3)
    # In evaluation a third group fills the batch: a problem that was measured before.
    rows = [row for rank in ranks for row in rank["rows"][2]]
    assert len(rows) == 24
    assert len({row[0] for row in rows}) == 2
    mean = sum(score(row[1]) for row in rows[:16]) / 16
    assert ranks[0]["eval_max_at_1"] == pytest.approx(mean, abs=1e-6)
    assert ranks[0]["solved"] == ranks[1]["solved"] != []
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert ranks[0]["weights"] == ranks[1]["weights"]


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    return two_processes(tmp_path_factory.mktemp("two"))


@pytest.mark.slow
def test_groups_that_straddle_two_processes(on_two):
    check_straddling(on_two)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_model_sharded_by_fsdp2_learns_the_same(precision, on_two, tmp_path):
    """Under TRL's fsdp2.yaml, which is bf16; in float32 it must be the run that is not sharded."""
    launcher = Path(__file__).with_name("fsdp2_on_cpu.py")
    sharded = two_processes(tmp_path, str(launcher), precision)
    check_straddling(sharded)
    assert [rank["sharded"] for rank in [*on_two, *sharded]] == [False, False, True, True]
    assert {rank["precision"] for rank in sharded} == {precision}
    assert sharded[0]["weights"].keys() == on_two[0]["weights"].keys()
    for rank, same in zip(sharded, on_two, strict=True):
        answers = [[row[:2] for row in run["rows"][0]] for run in (rank, same)]
        assert answers[0] == answers[1]
        if precision == "no":
            assert rank["rows"] == same["rows"]
            for name, weights in same["weights"].items():
                assert rank["weights"][name] == pytest.approx(weights, rel=1e-4, abs=1e-6)
