"""The worlds of many lanes: one call plays several lanes, each with its own random streams.

The physics of a world are functions of arrays with one row per episode (``pkpo_envs.ProblemEnv``).
If a world is ``stackable``, more rows change no number, and one call plays the attempts of several
lanes. Otherwise each lane has its own call.
"""

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from pkpo_envs.columns import make_columns
from pkpo_envs.problem_env import ProblemEnv, advance_checked, observations_of
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_sandbox.algorithm.streams import stream

ITERATIONS_AHEAD = 64  #: number of iterations whose problems are drawn in one call

LARGEST_TABLE = 65_536  #: first observations are stored for at most so many problems


class LaneRandom:
    """The generators of several lanes, used as one generator by a stacked world.

    The ``size`` of a call must ask for one number, or one row of numbers, per episode. Each lane's
    part then comes from its own generator, as if the lane were alone.

    :param generators: one per lane
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self.generators = list(generators)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        methods = [getattr(generator, name) for generator in self.generators]

        def draw(*args: Any, **kwargs: Any) -> NDArray[Any]:
            if name in ("random", "standard_normal", "standard_exponential") and args:
                kwargs["size"], args = args[0], args[1:]
            size = kwargs.pop("size", None)
            batch, *rest = size if isinstance(size, tuple) else (size,)
            if batch is None or batch % len(methods) != 0:
                raise ValueError(
                    f"a stackable world drew {name} of size {size} for {len(methods)} lanes: draw "
                    "one number an episode, size=len(actions), or leave stackable False"
                )
            size = (batch // len(methods), *rest)
            return np.concatenate([method(*args, size=size, **kwargs) for method in methods])

        return draw


class World:
    """One world and the lanes that play in it, as rows of one call.

    :param world: of a kind that :func:`check_world` accepts
    :param lanes: the numbers of the lanes
    :param seeds: one per lane
    """

    def __init__(self, world: ProblemEnv, lanes: Sequence[int], seeds: Sequence[int]) -> None:
        self.world, self.lanes = world, list(lanes)
        self._random = [seeding.np_random(seed)[0] for seed in seeds]
        self._problem_random = [np.random.default_rng(stream(seed, "problems")) for seed in seeds]
        self._block: NDArray[np.int64] | None = None
        self._table = first_observations(world)
        self._set_random()

    @property
    def shared_start(self) -> bool:
        """Whether the attempts of a group always start with the same observation."""
        return self._table is not None

    def draw_problems(self, iteration: int, n_groups: int) -> NDArray[np.int64]:
        """The problem of each group (lanes, n_groups)."""
        n = self.world.n_problems
        if n == 1:
            return np.zeros((len(self.lanes), n_groups), dtype=np.int64)
        ahead = iteration % ITERATIONS_AHEAD
        if ahead == 0 or self._block is None:
            size = (ITERATIONS_AHEAD, n_groups)
            self._block = np.stack([g.integers(n, size=size) for g in self._problem_random])
        return self._block[:, ahead]

    def start(self, problems: NDArray[np.int64], group_size: int) -> NDArray[Any]:
        """Start an attempt in every row. -> first observations.

        :param problems: (lanes, n_groups)
        :return: (lanes, n_groups, ...) if the attempts of a group have the same first observation,
            else (lanes, n_groups * group_size, ...)
        """
        of_attempts = problems.repeat(group_size, axis=1).ravel()
        if self._table is None:
            self.state = self.world.start(of_attempts)
            observations = observations_of(self.world, self.state)
            return observations.reshape(len(self.lanes), -1, *observations.shape[1:])
        states, observations = self._table
        self.state = states[of_attempts]
        return observations[problems]

    def step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take a step in every row.

        :param actions: (lanes * attempts, ...)
        :return: rewards and ends, (lanes, attempts) each
        """
        self.state, rewards, ended = advance_checked(self.world, self.state, actions)
        shape = (len(self.lanes), -1)
        return rewards.reshape(shape), ended.reshape(shape)

    def observe(self) -> NDArray[Any]:
        """The observations (lanes, attempts, ...) of the current states."""
        observations = observations_of(self.world, self.state)
        return observations.reshape(len(self.lanes), -1, *observations.shape[1:])

    def keep(self, numbers: dict[int, int]) -> None:
        """Continue with these lanes only. ``numbers`` maps old lane numbers to new ones."""
        rows = [row for row, lane in enumerate(self.lanes) if lane in numbers]
        self.lanes = [numbers[self.lanes[row]] for row in rows]
        self._random = [self._random[row] for row in rows]
        self._problem_random = [self._problem_random[row] for row in rows]
        if self._block is not None:
            self._block = self._block[rows]
        if rows:
            self._set_random()

    def _set_random(self) -> None:
        one = len(self._random) == 1
        random: Any = self._random[0] if one else LaneRandom(self._random)
        self.world.np_random = random


class LaneWorlds:
    """The worlds of all lanes. All take each step at the same time.

    :param kwargs: the env's arguments, one dict per lane
    :raises ValueError: if lanes do not support this env, or the arguments lead to different spaces
    """

    def __init__(
        self,
        env_id: str,
        kwargs: Sequence[dict[str, Any]],
        seeds: Sequence[int],
        n_groups: int,
        group_size: int,
    ) -> None:
        self.n_groups, self.group_size = n_groups, group_size
        self.attempts = n_groups * group_size
        #: errors of lanes whose physics failed, by lane
        self.errors: dict[int, Exception] = {}
        kinds: dict[Any, list[int]] = {}
        for lane, given in enumerate(kwargs):
            kinds.setdefault(key_of(given), []).append(lane)
        self.worlds: list[World] = []
        for lanes in kinds.values():
            given = kwargs[lanes[0]]
            world = make_world(env_id, given, self.attempts)
            together = [lanes] if is_stackable(world) else [[lane] for lane in lanes]
            for i, members in enumerate(together):
                alone = world if i == 0 else make_world(env_id, given, self.attempts)
                self.worlds.append(World(alone, members, [seeds[lane] for lane in members]))
        first = self.worlds[0].world
        self.observation_space, self.action_space = first.observation_space, first.action_space
        for other in self.worlds[1:]:
            for name in ("observation_space", "action_space"):
                mine, theirs = getattr(first, name), getattr(other.world, name)
                if mine != theirs:
                    raise ValueError(
                        f"lanes share their spaces, but env_kwargs give the {name} {mine} and "
                        f"{theirs}: train these lanes separately"
                    )
        self.n_lanes = len(kwargs)

    @property
    def one_step(self) -> bool:
        """Whether episodes always have one step."""
        return type(self.worlds[0].world).advance is ProblemEnv.advance

    @property
    def first_rows(self) -> int:
        """The number of first observations of a lane: 1, one per group, or one per attempt."""
        if not all(world.shared_start for world in self.worlds):
            return self.attempts
        one = all(world.world.n_problems == 1 for world in self.worlds)
        return 1 if one else self.n_groups

    def start(self, iteration: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Start an iteration. -> problems (lanes, n_groups), observations (lanes, rows, ...)."""
        problems, observations = [], []
        rows = self.first_rows
        for world in self.worlds:
            drawn = world.draw_problems(iteration, self.n_groups)
            first = world.start(drawn, self.group_size)
            if first.shape[1] > rows:  # with one problem, all groups start the same
                first = first[:, :rows]
            elif first.shape[1] < rows:
                first = first.repeat(self.group_size, axis=1)
            problems.append(drawn)
            observations.append(first)
        return self._join(problems), self._join(observations)

    def step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], bool]:
        """Take a step in all attempts. -> rewards (lanes, attempts), and whether all have ended.

        :param actions: (lanes, attempts, ...)
        :raises UnevenEpisodesError: if some attempts have ended and others have not
        """
        played, failed = [], []
        for world in self.worlds:
            taken = actions if len(self.worlds) == 1 else actions[world.lanes]
            try:
                if not self.errors.keys().isdisjoint(world.lanes):
                    raise self.errors[world.lanes[0]]
                played.append(world.step(taken.reshape(-1, *taken.shape[2:])))
            except Exception as error:
                for lane in world.lanes:
                    self.errors.setdefault(lane, error)
                failed += world.lanes
                nothing = np.zeros(taken.shape[:2])
                played.append((nothing, np.ones(taken.shape[:2], dtype=np.bool_)))
        rewards = self._join([rewards for rewards, _ in played])
        ended = self._join([ended for _, ended in played])
        if failed and len(failed) < self.n_lanes:  # failed lanes end together with the others
            working = np.delete(np.arange(self.n_lanes), failed)
            ended[failed] = ended[working].all()
        over = bool(ended.all())
        if not over and np.delete(ended, failed, axis=0).any():
            raise UnevenEpisodesError(
                f"{int(ended.sum())} of {ended.size} attempts ended earlier than the others, but "
                "lanes need episodes of equal lengths: train these runs one by one"
            )
        return rewards, over

    def observe(self) -> NDArray[Any]:
        """Observations (lanes, attempts, ...)."""
        parts = []
        for world in self.worlds:
            try:
                parts.append(world.observe())
            except Exception as error:
                for lane in world.lanes:
                    self.errors.setdefault(lane, error)
                shape = (len(world.lanes), self.attempts, *(self.observation_space.shape or ()))
                parts.append(np.zeros(shape, dtype=self.observation_space.dtype))
        return self._join(parts)

    def keep(self, lanes: Sequence[int]) -> None:
        """Continue with these lanes only. They get new numbers, in this order."""
        numbers = {lane: number for number, lane in enumerate(lanes)}
        for world in self.worlds:
            world.keep(numbers)
        self.worlds = [world for world in self.worlds if world.lanes]
        self.n_lanes = len(lanes)
        self.errors = {}

    def _join(self, parts: list[NDArray[Any]]) -> NDArray[Any]:
        if len(parts) == 1:
            return parts[0]
        joined = np.empty((self.n_lanes, *parts[0].shape[1:]), dtype=parts[0].dtype)
        for world, part in zip(self.worlds, parts, strict=True):
            joined[world.lanes] = part
        return joined


class UnevenEpisodesError(ValueError):
    """The episodes of an env have different lengths, which lanes do not support."""


def make_world(env_id: str, kwargs: dict[str, Any], attempts: int) -> ProblemEnv:
    """Make one world of a ``ProblemVectorEnv``.

    :raises ValueError: if lanes do not support the env, with the reason
    """
    venv = make_columns(env_id, attempts, kwargs, vectorization="native")
    check_world(venv)
    return venv.unwrapped.world  # type: ignore[attr-defined]


def check_world(venv: Any) -> None:
    """Raise a ValueError unless lanes can play the physics of this vector env."""
    if not isinstance(venv, ProblemVectorEnv):
        raise ValueError(
            f"lanes need a pkpo_envs.ProblemVectorEnv, whose physics are functions of arrays, but "
            f"{venv} is a {type(venv).__name__}"
        )
    for name in ("reset", "step", "_restart"):
        if getattr(type(venv), name) is not getattr(ProblemVectorEnv, name):
            raise ValueError(
                f"lanes call the physics of a world themselves, but {type(venv).__name__} has a "
                f"{name} of its own"
            )
    if not isinstance(
        venv.single_observation_space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box
    ):
        raise ValueError(
            "lanes support Discrete, MultiDiscrete or Box observations, not "
            f"{venv.single_observation_space}"
        )


def is_stackable(world: ProblemEnv) -> bool:
    """Whether the world's own class sets ``stackable`` to True. Base classes do not count."""
    return bool(vars(type(world)).get("stackable", False))


def first_observations(world: ProblemEnv) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """First states and observations of all problems. None if they are random or too many."""
    if world.n_problems > LARGEST_TABLE:
        return None
    generator = np.random.default_rng(0)
    before, world.np_random = generator.bit_generator.state, generator
    states = world.start(np.arange(world.n_problems, dtype=np.int64))
    observations = observations_of(world, states)
    return (states, observations) if generator.bit_generator.state == before else None


def key_of(kwargs: Mapping[str, Any]) -> Any:
    """A key for grouping lanes: the same key means equal arguments."""
    try:
        return pickle.dumps(sorted(kwargs.items()))
    except Exception:  # arguments that cannot be pickled are not equal to any others
        return object()
