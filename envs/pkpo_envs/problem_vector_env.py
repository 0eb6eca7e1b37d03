"""Many episodes of one world, stepped together, as a Gymnasium vector environment."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from pkpo_envs.checks import check_actions, check_mask, check_options, check_problems
from pkpo_envs.problem_env import ProblemEnv, advance_checked, observations_of, render_env
from pkpo_envs.rendering import RENDER_MODES, Renderer


class ProblemVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """Many episodes of one world, stepped together. A subclass sets the world in `world_class`.

    The columns share the world's random generator, so `reset(seed=0)` seeds all columns. `reset`
    has two options:

    - `"problem"`: one problem for all columns, or an array (num_envs,) of problems
    - `"reset_mask"`: a boolean array (num_envs,) of the columns to restart. `"problem"` then
      applies to these columns only.

    `infos["problem"]` holds the problem of each column's current episode.

    Autoreset is SAME_STEP (an ended column restarts at a random problem within the step) or
    DISABLED (the caller restarts it with `"reset_mask"`, and may choose the problem).

    With a `render_mode`, `render` draws the latest attempts of all columns into one picture.
    Gymnasium expects one frame per column, so `render` returns this picture `num_envs` times,
    without copies. Use `RecordVideo(envs, ..., record_first_only=True)`.
    """

    world_class: ClassVar[type[ProblemEnv]]

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **world_kwargs: Any,
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs={num_envs!r} must be an integer of at least 1.")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            raise ValueError(
                "autoreset_mode=NEXT_STEP spends a step on every restart, every second step of a "
                "one-step world: use AutoresetMode.SAME_STEP, or AutoresetMode.DISABLED with "
                "options={'reset_mask': ...}."
            )
        self.world = self.world_class(**world_kwargs)
        self.num_envs = int(num_envs)
        self.render_mode = render_mode
        self._renderer = None if render_mode is None else Renderer(self.world, render_mode)
        modes = {"render_modes": list(RENDER_MODES), "autoreset_mode": self.autoreset_mode}
        self.metadata = {**self.world.metadata, **modes}
        self.single_observation_space = self.world.observation_space
        self.single_action_space = self.world.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._state: NDArray[Any] | None = None
        self._problems = np.zeros(self.num_envs, dtype=np.int64)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)

    @property
    def n_problems(self) -> int:
        """The number of problems of the world."""
        return self.world.n_problems

    @property
    def np_random(self) -> np.random.Generator:
        """The random generator of the world. All columns share it."""
        return self.world.np_random

    @np_random.setter
    def np_random(self, value: np.random.Generator) -> None:
        self.world.np_random = value

    @property
    def np_random_seed(self) -> int:
        """The seed of `np_random`, or -1 if it is unknown."""
        return self.world.np_random_seed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode in every column, or in the columns of `options["reset_mask"]`."""
        options = check_options(options, {"problem", "reset_mask"})
        restart = np.ones(self.num_envs, dtype=np.bool_)
        if "reset_mask" in options:
            restart = check_mask(options["reset_mask"], self.num_envs).copy()
        if self._state is None and not restart.all():
            raise ResetNeeded(
                f"{type(self).__name__} has no episodes yet to keep in the columns outside "
                "options['reset_mask']: call reset() without it first."
            )
        problems = None
        if "problem" in options:
            problems = check_problems(options["problem"], self.n_problems, self.num_envs, restart)[
                restart
            ]
        gym.Env.reset(self.world, seed=seed)
        self._restart(restart, problems)
        infos = {"problem": self._problems.copy(), "_problem": restart}
        return observations_of(self.world, self._state), infos

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        NDArray[Any],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Take one step in every column."""
        if self._state is None:
            raise ResetNeeded(
                f"{type(self).__name__}.step() was called before reset(): call reset() first."
            )
        if self._ended.any():
            raise ResetNeeded(
                f"Autoreset is disabled, and {self._ended.sum()} columns have ended, among them "
                f"{self._ended.argmax()}: restart them with reset(options={{'reset_mask': ...}})."
            )
        actions = check_actions(np.asarray(actions), self.single_action_space, self.num_envs)
        self._state, rewards, ended = advance_checked(self.world, self._state, actions)
        self._ended = ended.copy()
        observations = observations_of(self.world, self._state)
        if self._renderer is not None:
            self._renderer.step(self._problems, self._state, actions, rewards, ended)
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            # The same keys as gymnasium.vector.SyncVectorEnv for episodes that ended.
            infos["final_obs"] = np.full(self.num_envs, fill_value=None, dtype=object)
            for column in np.flatnonzero(ended):
                infos["final_obs"][column] = observations[column]
            infos["final_info"] = {
                "problem": np.where(ended, self._problems, 0),
                "_problem": ended.copy(),
            }
            infos["_final_obs"], infos["_final_info"] = ended.copy(), ended.copy()
            self._restart(ended, None)
            observations = observations_of(self.world, self._state)
        infos["problem"] = self._problems.copy()
        infos["_problem"] = np.ones(self.num_envs, dtype=np.bool_)
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """Return one picture (height, width, 3) of all columns per column, else None."""
        picture = render_env(self)
        return None if picture is None else (picture,) * self.num_envs

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window of "human", if there is one."""
        if self._renderer is not None:
            self._renderer.close()

    def _restart(self, columns: NDArray[np.bool_], problems: NDArray[np.int64] | None) -> None:
        """Start episodes in these columns, at one given problem each or at random problems."""
        if problems is None:
            problems = self.world.draw_problems(int(columns.sum()))
        self._problems[columns] = problems
        self._ended[columns] = False
        if self._renderer is not None:
            self._renderer.restart(columns)
        fresh = self.world.start(problems)
        if self._state is None or len(problems) == self.num_envs:
            self._state = fresh
            return
        if fresh.dtype != self._state.dtype:
            raise TypeError(
                f"The states of {self.world} are {fresh.dtype} from start() and "
                f"{self._state.dtype} from advance(): return one dtype."
            )
        self._state = self._state.copy()
        self._state[columns] = fresh
