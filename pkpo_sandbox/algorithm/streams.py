"""Random streams: every seed that is derived from a run's seed comes from one function."""

from typing import Literal

import numpy as np

Purpose = Literal["columns", "problems", "evaluation", "checkpoint", "continuation"]


def stream(seed: int, purpose: Purpose, number: int = 0) -> np.random.SeedSequence:
    """A random stream of a run, for one purpose.

    Equal arguments give equal streams. Different arguments give independent ones.

    ==================  ======================================  ==================
    purpose             what the stream decides                 number
    ==================  ======================================  ==================
    ``columns``         the seed of each column of an env       not used
    ``problems``        the problem of each group               not used
    ``evaluation``      one evaluation on groups of its own     timesteps so far
    ``checkpoint``      everything after a checkpoint           timesteps so far
    ``continuation``    everything that a trained model does    updates so far
                        after it was loaded or reseeded
    ==================  ======================================  ==================

    :param seed: at least 0
    :param number: at least 0
    """
    entropy = {
        "columns": [seed],
        "problems": [seed, 1],
        "evaluation": [seed, number],
        "checkpoint": [seed, number, 1],
        "continuation": [seed, number, 2],
    }
    return np.random.SeedSequence(entropy[purpose])


def stream_seed(seed: int, purpose: Purpose, number: int = 0) -> int:
    """The first number of :func:`stream`, 0 to 2**32 - 1, for what takes an integer seed."""
    return int(stream(seed, purpose, number).generate_state(1)[0])
