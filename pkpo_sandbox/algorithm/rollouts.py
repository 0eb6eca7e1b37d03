"""Record the episodes of one iteration step by step, and join them into rows and returns."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pkpo_sandbox.algorithm.roster import IDLE


class Rollout(NamedTuple):
    """The whole episodes of one iteration, one row for each step of each attempt."""

    observations: Any  #: tensor (rows, ...), or a dict of such tensors
    actions: torch.Tensor  #: (rows, ...) as sampled, before clipping to the action space
    log_prob: torch.Tensor  #: (rows,) of the actions under the policy that took them
    entropy: torch.Tensor  #: (rows,) of the same policy
    attempts: torch.Tensor  #: (rows,) int64, the attempt that each step belongs to
    returns: torch.Tensor  #: (n_groups, group_size) float64, discounted sum of an attempt's rewards
    undiscounted: torch.Tensor  #: (n_groups, group_size) float64, plain sum of an attempt's rewards
    lengths: np.ndarray  #: (n_groups, group_size) int64, steps of an attempt

    def parts(self, n_rows: int) -> Iterator["Rollout"]:
        """Parts of at most ``n_rows`` rows. Returns and lengths remain those of all attempts."""
        for start in range(0, len(self.attempts), n_rows):
            rows = slice(start, start + n_rows)
            if isinstance(self.observations, dict):
                observations = {key: values[rows] for key, values in self.observations.items()}
            else:
                observations = self.observations[rows]
            yield self._replace(
                observations=observations,
                actions=self.actions[rows],
                log_prob=self.log_prob[rows],
                entropy=self.entropy[rows],
                attempts=self.attempts[rows],
            )


class Recorder:
    """Records an iteration, with one ``add`` per step."""

    def __init__(self) -> None:
        self._steps: list[tuple[Any, ...]] = []

    def add(self, acted: tuple[Any, ...], rewards: np.ndarray, attempts: np.ndarray) -> None:
        """Record a step.

        :param acted: observations (n_columns, ...), actions, log_prob and entropy of the step
        :param rewards: (n_columns,)
        :param attempts: (n_columns,) int64, the attempt that each column played; -1 for none
        :raises ValueError: if the reward of an attempt is not finite
        """
        playing = attempts != IDLE
        earned = rewards[playing]
        if not np.isfinite(earned).all():
            column = int(np.flatnonzero(playing & ~np.isfinite(rewards))[0])
            raise ValueError(
                f"the env in column {column} gave reward {rewards[column]} at step "
                f"{len(self._steps) + 1} of the iteration: rewards must be finite. The policy has "
                "not been updated on it; fix the env, or wrap it so that this case has a finite "
                "reward"
            )
        self._steps.append((*acted, playing, attempts[playing], earned))

    def detach(self) -> None:
        """Drop the graphs of all log-probabilities and entropies so far."""
        self._steps = [
            (observations, actions, log_prob.detach(), entropy.detach(), *rest)
            for observations, actions, log_prob, entropy, *rest in self._steps
        ]

    def rollout(self, n_groups: int, group_size: int, gamma: float) -> Rollout:
        """Join the steps into rows, without those of idle columns.

        :param gamma: discount factor of the returns, in (0, 1]
        """
        observations, actions, log_prob, entropy, playing, *credits = zip(*self._steps, strict=True)
        attempts, rewards = (np.concatenate(parts) for parts in credits)
        rows, device = None, actions[0].device
        if not all(mask.all() for mask in playing):
            rows = torch.from_numpy(np.flatnonzero(np.concatenate(playing))).to(device)

        def join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
            joined = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
            return joined if rows is None else joined[rows]

        def joined_observations() -> Any:
            if not isinstance(observations[0], dict):
                return join(observations)
            return {key: join([step[key] for step in observations]) for key in observations[0]}

        shape = n_groups, group_size
        undiscounted, lengths = attempt_sums(rewards, attempts, n_groups * group_size)
        returns = undiscounted
        if gamma != 1:
            discounted = gamma ** steps_before(attempts) * rewards
            returns, _ = attempt_sums(discounted, attempts, n_groups * group_size)
        return Rollout(
            joined_observations(),
            join(actions),
            join(log_prob),
            join(entropy),
            torch.from_numpy(attempts).to(device),
            torch.from_numpy(returns.reshape(shape)),
            torch.from_numpy(undiscounted.reshape(shape)),
            lengths.reshape(shape),
        )


def attempt_sums(
    rewards: np.ndarray, attempts: np.ndarray, n_attempts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the rewards and count the rows of each attempt, in the order of the rows.

    :param rewards: (rows,)
    :param attempts: (rows,) int64, the attempt that each row belongs to
    :return: (n_attempts,) float64 sums of rewards, and (n_attempts,) int64 numbers of rows
    """
    sums = np.bincount(attempts, weights=rewards, minlength=n_attempts)
    return sums, np.bincount(attempts, minlength=n_attempts)


def steps_before(attempts: np.ndarray) -> np.ndarray:
    """For each row, count the earlier rows of its attempt. -> (rows,) int64.

    :param attempts: (rows,) int64, the attempt that each row belongs to
    """
    order = np.argsort(attempts, kind="stable")
    in_order = attempts[order]
    firsts = np.searchsorted(in_order, in_order)
    steps = np.empty_like(order)
    steps[order] = np.arange(len(order)) - firsts
    return steps
