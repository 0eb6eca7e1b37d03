"""Many runs as one tensor program: lanes, each the run that it would be by itself.

A *lane* is one run: a seed, an objective and settings of its own. Lanes that share the env's kind,
the groups, the network's shape and the number of timesteps are trained together, one forward pass,
one backward pass and one step of the optimizer for all of them, for most of the time that a small
network trains is spent on calling, not on computing.

On a CPU a lane's weights and statistics have the same bytes alone and in any company, at any place
in it, and whatever the number of threads. Nothing sums over lanes, and no number of a lane meets
instructions that depend on the others (:mod:`pkpo_sandbox.algorithm.lanes.networks`).

From the same seed, a lane plays the problems, the noise and the actions of the same run by
:class:`~pkpo_sandbox.algorithm.group_policy_gradient.GroupPolicyGradient`, from the same weights.
The two round differently.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from pkpo_sandbox.algorithm.groups import check_groups
from pkpo_sandbox.algorithm.lanes.batch import LaneBatch, LaneResult, Watch
from pkpo_sandbox.algorithm.lanes.settings import Lane, check_lanes
from pkpo_sandbox.algorithm.lanes.worlds import key_of

__all__ = ["Lane", "LaneBatch", "LaneResult", "Lanes"]

MEMORY = {"cpu": 2**26, "cuda": 2**33}  #: of the tensors of a batch, in bytes


class Lanes:
    """Runs that share all but what a :class:`Lane` has of its own, trained as tensor programs.

    Lanes are cut into batches that fit ``memory``; neither that nor the order changes a number.
    A lane that fails (a reward or a gradient that is not finite, an error in its own transform)
    fails alone: its result says why.

    :param env_id: Gymnasium id, with its module, of a native vector env of problems
        (``pkpo_envs.ProblemVectorEnv``) whose episodes all have the same length. Episodes of
        uneven lengths are refused, at the step at which that shows: the attempts that end first
        would have to wait, and a lane's timesteps, so its schedules, would part from the others'
    :param lanes: at least one
    :param group_size: attempts at each problem, at least 2
    :param n_groups: problems in an iteration, at least 1
    :param n_epochs: gradient steps on each iteration's episodes; more than 1 needs ``clip_range``
    :param policy_kwargs: of SB3's MlpPolicy: ``net_arch``, ``activation_fn`` (Tanh or ReLU),
        ``fixed_std``, ``log_std_init``, ``optimizer_class`` (Adam or SGD)...
    :param stats_window_size: rollout statistics are over the last so many groups, in whole
        iterations
    :param device: "cpu", or "cuda" with any number: random numbers and worlds stay on the CPU. What
        is said of bytes holds on a CPU
    :param memory: bytes that the tensors of a batch may take, about; a batch has at least one lane.
        None for what is quickest: 64 MiB on a CPU, 8 GiB on a GPU
    :raises ValueError: for settings out of range, an env or a policy that lanes cannot have
    """

    def __init__(
        self,
        env_id: str,
        lanes: Sequence[Lane],
        *,
        group_size: int = 16,
        n_groups: int = 16,
        n_epochs: int = 1,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        device: torch.device | str = "cpu",
        memory: int | None = None,
    ) -> None:
        check_groups(n_groups, group_size)
        if not lanes:
            raise ValueError("lanes=[]: give at least one Lane")
        check_lanes(lanes, group_size, n_epochs, policy_kwargs or {})
        if memory is None:
            memory = MEMORY[torch.device(device).type]
        self.env_id, self.lanes, self.memory = env_id, list(lanes), memory
        self._shared: dict[str, Any] = {
            "group_size": group_size,
            "n_groups": n_groups,
            "n_epochs": n_epochs,
            "policy_kwargs": policy_kwargs or {},
            "stats_window_size": stats_window_size,
            "device": torch.device(device),
        }

    def learn(
        self, total_timesteps: int, log_interval: int | None = 100, watch: Watch | None = None
    ) -> list[LaneResult]:
        """Train every lane for at least ``total_timesteps`` env steps, in whole iterations.

        :param log_interval: iterations between two rows of the log, None for no log
        :param watch: called after every step of the env, before the update, with the batch
        """
        results: dict[int, LaneResult] = {}
        with one_thread():
            for numbers in self._batches():
                batch = self._batch(numbers)
                batch.learn(total_timesteps, log_interval, watch)
                results |= batch.results
        return [results[number] for number in range(len(self.lanes))]

    def _batch(self, numbers: Sequence[int]) -> LaneBatch:
        lanes = [self.lanes[number] for number in numbers]
        return LaneBatch(self.env_id, lanes, numbers, **self._shared)

    def _batches(self) -> Iterator[list[int]]:
        """The numbers of the lanes of each batch, which all compute terms and shapes alike."""
        kinds: dict[Any, list[int]] = {}
        first_rows: dict[Any, int] = {}
        for number, lane in enumerate(self.lanes):
            world = key_of(lane.env_kwargs)
            if world not in first_rows:
                first_rows[world] = self._batch([number]).worlds.first_rows
            terms = lane.clip_range is None, callable(lane.ent_coef) or lane.ent_coef != 0
            kinds.setdefault((first_rows[world], *terms), []).append(number)
        for numbers in kinds.values():
            probe = self._batch(numbers[:1])
            if not probe.worlds.one_step:  # how many they have shows when they are played
                probe.iterate(1)
            size = max(1, self.memory // probe.bytes_per_lane)
            for start in range(0, len(numbers), size):
                yield numbers[start : start + size]


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread: more make small tensors slower, and cut them elsewhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
