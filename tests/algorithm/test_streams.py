"""Random streams: the same numbers as in version 0.1.0, and all streams differ."""

from itertools import combinations
from typing import get_args

import numpy as np
import pytest

from pkpo_sandbox.algorithm.streams import Purpose, stream, stream_seed

PURPOSES = get_args(Purpose)


@pytest.mark.parametrize(
    ("purpose", "entropy"),
    [
        ("columns", 7),
        ("problems", [7, 1]),
        ("evaluation", [7, 640]),
        ("checkpoint", [7, 640, 1]),
        ("continuation", [7, 640, 2]),
    ],
)
def test_streams_are_those_of_version_0_1_0(purpose, entropy):
    expected = np.random.SeedSequence(entropy)
    found = stream(7, purpose, 640)
    assert (found.generate_state(5) == expected.generate_state(5)).all()
    assert stream_seed(7, purpose, 640) == expected.generate_state(1)[0]
    draws = [np.random.default_rng(source).random() for source in (found, entropy)]
    assert draws[0] == draws[1]


def test_every_purpose_seed_and_number_has_a_stream_of_its_own():
    keys = [(s, p, n) for s in (0, 1) for p in PURPOSES for n in (100, 200)]
    keys = [key for key in keys if key[1] not in ("columns", "problems") or key[2] == 100]
    states = {key: tuple(stream(*key).generate_state(4)) for key in keys}
    for one, other in combinations(keys, 2):
        assert states[one] != states[other], (one, other)
