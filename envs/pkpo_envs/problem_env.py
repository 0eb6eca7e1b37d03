"""Worlds of problems: physics written once, a scalar and a vector environment derived from it."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from pkpo_envs.rendering import FPS, RENDER_MODES, Attempts, Renderer, draw_returns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY = 64  # attempts of a scalar env that a picture shows


class ProblemEnv(gym.Env[Any, Any]):
    """A world of problems, as a scalar Gymnasium environment.

    A problem is what the attempts of one group share, and an episode is one attempt at a problem.
    `reset` draws the problem uniformly, `reset(options={"problem": i})` starts problem i, and
    `info["problem"]` names it.

    A world sets `observation_space`, `action_space` and (unless it is 1) `n_problems` in `__init__`
    and overrides `reward` if an episode is one step, else `start`, `observe` and `advance`. These
    are the physics. They work on a batch of independent episodes, one a row: the scalar environment
    is the batch of one, and `ProblemVectorEnv` is the same physics with many rows. Their randomness
    comes from `self.np_random` only.

    A world with an exact solution also has `exact(k, **policy) -> dict`: facts, as floats and lists
    of floats, about the policy whose action distributions on problems 0, 1, ... have these
    parameters (`probabilities` of shape (n_problems, n_actions), or `mean` and `std`), and about
    the best such policy for the maximum of k attempts (keys that end in `_star`).
    A world of several steps also has `decision_observations() -> (n_decisions, ...)`, every
    observation at which it asks for an action; `exact` then gets one distribution for each of them.

    A world with an argument `render_mode` that it hands to `super().__init__` can be seen, as
    "rgb_array" or in the window of "human": its latest 64 attempts, at whatever problems. The
    picture has the return of each, unless the world overrides `draw`. The vector environment can
    be seen without this argument.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": FPS}  # noqa: RUF012
    n_problems: int = 1

    _state: NDArray[Any] | None = None
    _problem: int = 0
    _renderer: Renderer | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Promise render modes for a world only if its constructor takes one."""
        super().__init_subclass__(**kwargs)
        if "metadata" not in vars(cls):
            takes = signature(cls.__init__).parameters.values()
            seen = any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in takes)
            cls.metadata = {**cls.metadata, "render_modes": list(RENDER_MODES) if seen else []}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        if render_mode is not None:
            self._renderer = Renderer(self, render_mode, history=HISTORY)

    def start(self, problems: NDArray[np.int64]) -> NDArray[Any]:
        """First states (batch, ...) of episodes at problems (batch,); by default the problems."""
        return problems

    def observe(self, state: NDArray[Any]) -> NDArray[Any]:
        """Observations (batch, ...) of these states; by default the states themselves."""
        return state

    def advance(
        self, state: NDArray[Any], actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
        """Next states (batch, ...), rewards (batch,) and whether each episode ended (batch,).

        By default one step ends the episode and earns `reward`; the state is then the problem.
        """
        return state, self.reward(state, actions), np.ones(len(state), dtype=np.bool_)

    def reward(self, problems: NDArray[np.int64], actions: NDArray[Any]) -> NDArray[np.float64]:
        """Rewards (batch,) of one-step attempts at problems (batch,) by actions (batch, ...)."""
        raise NotImplementedError(f"{type(self).__name__} overrides neither reward nor advance.")

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw these attempts, of which there may be none, into empty matplotlib axes."""
        draw_returns(axes, self, attempts)

    def draw_problems(self, batch: int) -> NDArray[np.int64]:
        """Problems (batch,) drawn uniformly; a world of one problem uses no randomness for it."""
        if self.n_problems == 1:
            return np.zeros(batch, dtype=np.int64)
        return self.np_random.integers(self.n_problems, size=batch)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an attempt at `options["problem"]`, or at a problem drawn at random."""
        options = _check_options(options, {"problem"})
        problems = None
        if "problem" in options:
            problems = _check_problems(options["problem"], self.n_problems, 1)
        super().reset(seed=seed)
        if problems is None:
            problems = self.draw_problems(1)
        self._problem = int(problems[0])
        self._state = self.start(problems)
        if self._renderer is not None:
            self._renderer.restart(np.ones(1, dtype=np.bool_))
        return _observations(self, self._state)[0], {"problem": self._problem}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step of the attempt."""
        if self._state is None:
            raise ResetNeeded(
                f"{type(self).__name__}.step() was called with no episode under way: call reset() "
                "first, and again after the end of each episode."
            )
        actions = _check_actions(np.asarray(action)[np.newaxis], self.action_space, 1)
        state, rewards, ended = _advance(self, self._state, actions)
        observation = _observations(self, state)[0]
        self._state = None if ended[0] else state
        if self._renderer is not None:
            self._renderer.step(np.array([self._problem]), state, actions, rewards, ended)
        return observation, float(rewards[0]), bool(ended[0]), False, {"problem": self._problem}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """A picture (height, width, 3) if the render mode is "rgb_array", else None."""
        return _render(self)

    def close(self) -> None:
        """Close the window of "human", if there is one."""
        if self._renderer is not None:
            self._renderer.close()


class ProblemVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """Many episodes of one world, stepped together; a subclass names the world in `world_class`.

    The columns share the world's random generator: `reset(seed=0)` seeds them all. The options of
    `reset` are `"problem"`, a problem for all columns or an array (num_envs,) of them, and
    `"reset_mask"`, a boolean array (num_envs,) of the columns to restart, the only ones whose
    `"problem"` then counts. `infos["problem"]` holds the problem of each column's current episode.

    Autoreset is SAME_STEP (an ended column restarts at a random problem within the step) or
    DISABLED (the caller restarts it with `"reset_mask"`, and may choose the problem).

    With a `render_mode`, `render` draws the latest attempts of all columns into one picture. As
    Gymnasium expects a frame for each column, it is returned `num_envs` times, without copies: use
    `RecordVideo(envs, ..., record_first_only=True)`.
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
        """The random generator of the world, shared by all columns."""
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
        options = _check_options(options, {"problem", "reset_mask"})
        restart = np.ones(self.num_envs, dtype=np.bool_)
        if "reset_mask" in options:
            restart = _check_mask(options["reset_mask"], self.num_envs).copy()
        if self._state is None and not restart.all():
            raise ResetNeeded(
                f"{type(self).__name__} has no episodes yet to keep in the columns outside "
                "options['reset_mask']: call reset() without it first."
            )
        problems = None
        if "problem" in options:
            problems = _check_problems(options["problem"], self.n_problems, self.num_envs, restart)[
                restart
            ]
        gym.Env.reset(self.world, seed=seed)
        self._restart(restart, problems)
        infos = {"problem": self._problems.copy(), "_problem": restart}
        return _observations(self.world, self._state), infos

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
        actions = _check_actions(np.asarray(actions), self.single_action_space, self.num_envs)
        self._state, rewards, ended = _advance(self.world, self._state, actions)
        self._ended = ended.copy()
        observations = _observations(self.world, self._state)
        if self._renderer is not None:
            self._renderer.step(self._problems, self._state, actions, rewards, ended)
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            # What gymnasium.vector.SyncVectorEnv reports of the episodes that ended.
            infos["final_obs"] = np.full(self.num_envs, fill_value=None, dtype=object)
            for column in np.flatnonzero(ended):
                infos["final_obs"][column] = observations[column]
            infos["final_info"] = {
                "problem": np.where(ended, self._problems, 0),
                "_problem": ended.copy(),
            }
            infos["_final_obs"], infos["_final_info"] = ended.copy(), ended.copy()
            self._restart(ended, None)
            observations = _observations(self.world, self._state)
        infos["problem"] = self._problems.copy()
        infos["_problem"] = np.ones(self.num_envs, dtype=np.bool_)
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """One picture (height, width, 3) of all columns, for each column; None in other modes."""
        picture = _render(self)
        return None if picture is None else (picture,) * self.num_envs

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window of "human", if there is one."""
        if self._renderer is not None:
            self._renderer.close()

    def _restart(self, columns: NDArray[np.bool_], problems: NDArray[np.int64] | None) -> None:
        """Start episodes in these columns, at one problem for each of them or at random ones."""
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


def check_target(k: Any) -> int:
    """k, how many attempts the best is taken of, if it is an integer of at least 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k={k!r} must be an integer of at least 1: the best is of k attempts.")
    return int(k)


def check_distribution(policy: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A policy of this shape, if it is at least 0 and sums to 1 (within 1e-5) on the last axis."""
    policy = np.asarray(policy, dtype=np.float64)
    if policy.shape != shape:
        raise ValueError(
            f"The policy has shape {policy.shape}, expected {shape}: one probability per action."
        )
    if not (policy >= 0).all():
        raise ValueError(
            f"The policy has the probability {policy[~(policy >= 0)][0]}: each must be at least 0."
        )
    totals = policy.sum(axis=-1).ravel()
    worst = totals[np.abs(totals - 1).argmax()]
    if not abs(worst - 1) <= 1e-5:
        raise ValueError(
            f"The policy sums to {worst}, not to 1: divide the probabilities by their sum."
        )
    return policy


def _check_options(options: dict[str, Any] | None, known: set[str]) -> dict[str, Any]:
    options = options or {}
    if not options.keys() <= known:
        unknown = sorted(options.keys() - known)
        raise ValueError(f"reset() has no options {unknown}: choose from {sorted(known)}.")
    return options


def _check_mask(mask: Any, num_envs: int) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.shape != (num_envs,) or array.dtype != np.bool_:
        raise ValueError(
            f"options['reset_mask'] must be a boolean array of shape ({num_envs},), got "
            f"{array.dtype} of shape {array.shape}."
        )
    if not array.any():
        raise ValueError("options['reset_mask'] marks no column: skip the reset, or mark one.")
    return array


def _check_problems(
    problems: Any, n_problems: int, batch: int, counts: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """One problem for all rows or one a row, as (batch,); only rows that count are checked."""
    array = np.asarray(problems)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"options['problem']={problems!r} must be an integer from 0 to {n_problems - 1}."
        )
    if array.shape not in ((), (batch,)):
        raise ValueError(
            f"options['problem'] has shape {array.shape}: give one integer for all columns"
            f"{'' if batch == 1 else f', or an array of shape ({batch},)'}."
        )
    array = np.broadcast_to(array, (batch,))
    outside = (array < 0) | (array >= n_problems)
    if counts is not None:
        outside &= counts
    if outside.any():
        raise ValueError(
            f"options['problem'] has {array[outside][0]}, but the problems are 0 to "
            f"{n_problems - 1}: choose one of them."
        )
    return array.astype(np.int64)


def _check_actions(actions: NDArray[Any], space: spaces.Space[Any], batch: int) -> NDArray[Any]:
    """Actions (batch, ...) in the dtype of the space: in range if discrete, finite if real."""
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box):
        raise TypeError(f"Worlds do not act in {space}: use a Discrete, MultiDiscrete or Box.")
    shape = (batch, *(space.shape or ()))
    if actions.shape != shape:
        raise ValueError(
            f"The actions have shape {actions.shape}, expected {shape}: one of {space} per column."
        )
    if isinstance(space, spaces.Box):
        # False for NaN too, and for what a float32 cannot hold.
        valid = np.abs(actions) <= np.finfo(space.dtype).max
        bound = "finite: look for NaN or infinity in the policy"
    elif np.issubdtype(actions.dtype, np.integer):
        size = space.n if isinstance(space, spaces.Discrete) else space.nvec
        valid = (actions >= space.start) & (actions < space.start + size)
        bound = f"an element of {space}: the smallest is {space.start}, and there are {size}"
    else:
        raise ValueError(
            f"The actions {actions[:8].tolist()} have dtype {actions.dtype}, but {space} takes "
            "integers: cast them first."
        )
    if not valid.all():
        column = int(np.argwhere(~valid)[0, 0])
        raise ValueError(f"The action {actions[column]} of column {column} must be {bound}.")
    return actions.astype(space.dtype, copy=False)


def _render(env: ProblemEnv | ProblemVectorEnv) -> NDArray[np.uint8] | None:
    """What an env's renderer draws; a warning, as Gymnasium's own envs give, if it has none."""
    if env._renderer is None:
        gym.logger.warn(
            f"{type(env).__name__}.render() draws nothing without a render mode: choose one when "
            'making the env, as in gymnasium.make(..., render_mode="rgb_array").'
        )
        return None
    return env._renderer.render()


def _advance(
    world: ProblemEnv, state: NDArray[Any], actions: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    """`world.advance`, its rewards and ends checked to be one per episode."""
    batch = len(actions)
    state, rewards, ended = world.advance(state, actions)
    if np.shape(rewards) != (batch,) or np.shape(ended) != (batch,):
        raise ValueError(
            f"{world} gave rewards of shape {np.shape(rewards)} and ends of shape "
            f"{np.shape(ended)} to {batch} episodes: return arrays of shape ({batch},)."
        )
    return state, np.array(rewards, dtype=np.float64), np.array(ended, dtype=np.bool_)


def _observations(world: ProblemEnv, state: NDArray[Any] | None) -> NDArray[Any]:
    """A copy of what the world observes: what a caller keeps must not change with the state."""
    assert state is not None
    return np.array(world.observe(state), dtype=world.observation_space.dtype)
