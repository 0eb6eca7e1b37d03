"""Many runs as one tensor program: each run is a *lane*.

A lane has its own seed, objective and settings. Lanes with the same kind of env, groups, network
shape and number of timesteps train together: one forward pass, one backward pass and one optimizer
step serve all of them. This is faster because small networks spend most of the time on the overhead
of calls, not on computation.

On a CPU a lane's weights and statistics are the same bytes, whether it trains alone or with others,
at any position, and with any number of threads. No sum runs over lanes, and the instructions that
compute a lane's numbers do not depend on other lanes
(:mod:`pkpo_sandbox.algorithm.lanes.parameters`).

With the same seed, a lane has the same initial weights, problems, noise and actions as a run of
:class:`~pkpo_sandbox.algorithm.group_policy_gradient.GroupPolicyGradient`. Only rounding differs.
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

MEMORY = {"cpu": 2**26, "cuda": 2**33}  #: bytes for the tensors of a batch


class Lanes:
    """Several runs, trained as tensor programs. They differ only in the fields of :class:`Lane`.

    Lanes are split into batches that fit into ``memory``. Neither the batches nor the order of the
    lanes change any number. If a lane fails (a reward or a gradient is not finite, its transform
    raises an error), the others continue. Its result has the error.

    :param env_id: Gymnasium id, with its module, of a native vector env
        (``pkpo_envs.ProblemVectorEnv``) whose episodes all have the same length. Episodes of
        different lengths raise an error at the step where this becomes visible. Lanes share the
        number of timesteps, and so the progress of schedules
    :param lanes: at least one
    :param group_size: attempts at each problem, at least 2
    :param n_groups: problems in an iteration, at least 1
    :param n_epochs: updates in each iteration; more than 1 needs ``clip_range``
    :param policy_kwargs: for SB3's MlpPolicy: ``net_arch``, ``activation_fn`` (Tanh or ReLU),
        ``fixed_std``, ``log_std_init``, ``optimizer_class`` (Adam or SGD)...
    :param stats_window_size: how many of the last groups the rollout statistics cover, in whole
        iterations
    :param device: "cpu", or "cuda" with or without an index. Random numbers and worlds stay on the
        CPU. The guarantee of equal bytes holds on a CPU only
    :param memory: approximate limit in bytes for the tensors of a batch; a batch has at least one
        lane. None selects the fastest: 64 MiB on a CPU, 8 GiB on a GPU
    :raises ValueError: if a setting is out of range, or lanes do not support the env or the policy
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

        :param log_interval: iterations between two rows of the log; None turns the log off
        :param watch: called with the batch after every step of the env, before the update
        :return: the result of each lane, in order
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
        """The lane numbers of each batch. Lanes of a batch have the same loss terms and shapes."""
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
            if not probe.worlds.one_step:  # the number of steps is known after one iteration
                probe.iterate(1)
            size = max(1, self.memory // probe.bytes_per_lane)
            for start in range(0, len(numbers), size):
                yield numbers[start : start + size]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread: more threads are slower, and split small tensors differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
