"""Run under torchrun by test_trainer.py: two updates, and what each process saw, as JSON."""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from torch.distributed.tensor import DTensor

from pkpo_sandbox.gemma2 import PKPOConfig, PKPOTrainer
from pkpo_sandbox.gemma2.metrics import SolvedProblems
from pkpo_sandbox.gemma2.models import TinyGemma2


def reward(prompts, completions, **_) -> list[float | None]:
    return [sum(map(int, answer.split())) % 5 / 4 for answer in completions]


class Watched(PKPOTrainer):
    def _compute_loss(self, model, inputs):
        decode = self.processing_class.batch_decode
        prompts = decode(inputs["prompt_ids"], skip_special_tokens=True)
        answers = decode(inputs["completion_ids"], skip_special_tokens=True)
        advantages = inputs["advantages"].tolist()
        seen["rows"].append(list(zip(prompts, answers, advantages, strict=True)))
        return super()._compute_loss(model, inputs)


def whole(parameter: torch.Tensor) -> list[float]:
    parameter = parameter.detach()
    whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
    return whole.flatten().tolist()


torch.set_num_threads(1)
seen: dict = {"rows": []}
folder = Path(sys.argv[1])
model, tokenizer, _ = TinyGemma2(numbers=40, hidden_size=32).load(seed=0)
args = PKPOConfig(
    output_dir=str(folder / "out"),
    k=4,
    num_generations=8,
    per_device_train_batch_size=12,
    max_completion_length=4,
    max_steps=2,
    learning_rate=1e-2,
    solved_at=0.75,
    logging_steps=1,
    use_cpu=True,
    bf16=False,
    gradient_checkpointing=False,
    disable_tqdm=True,
    per_device_eval_batch_size=12,
    report_to="none",
    save_strategy="no",
)
data = Dataset.from_dict({"prompt": [str(i) for i in range(12)]})
trainer = Watched(
    model, reward, args, data, processing_class=tokenizer, eval_dataset=data.select(range(2))
)
trainer.train()
(solved,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, SolvedProblems))
names = ("rollout/max_at_4", "rollout/pass_at_8", "rollout/solved", "rollout/zero_signal")
seen |= {
    "world_size": trainer.accelerator.num_processes,
    "solved": solved.solved,
    "metrics": [[log[name] for name in names] for log in trainer.state.log_history[:-1]],
    "precision": trainer.accelerator.mixed_precision,
    "sharded": all(isinstance(p, DTensor) for p in trainer.model.parameters()),
    "weights": {name: whole(p) for name, p in trainer.model.named_parameters()},
}
seen["eval_max_at_1"] = trainer.evaluate()["eval_max_at_1"]
path = folder / f"rank-{trainer.accelerator.process_index}.json"
path.write_text(json.dumps(seen))
trainer.accelerator.wait_for_everyone()
os._exit(0)  # gloo's threads can abort a process that tears them down beside a busy peer
