"""Numbers of lanes: each lane reads what its policy wrote, and the padding is zero."""

import pytest
import torch

from pkpo_sandbox.algorithm.lanes.parameters import LaneParameters, Part, padded

PARTS = [Part("weight", (3, 5), padded(5), padded(3)), Part("bias", (3,), 1, padded(3))]
STATES = [
    {"weight": torch.arange(15.0).view(3, 5) * scale, "bias": torch.tensor([1.0, 2, 3]) * scale}
    for scale in (1, -2)
]


@pytest.fixture
def two_lanes() -> LaneParameters:
    numbers = LaneParameters(PARTS, 2, torch.device("cpu"))
    for lane, state in enumerate(STATES):
        numbers.write(lane, state)
    return numbers


@pytest.mark.parametrize(("width", "expected"), [(0, 0), (1, 32), (32, 32), (33, 64)])
def test_widths_are_rounded_up_to_whole_vectors(width, expected):
    assert padded(width) == expected


def test_a_lane_reads_what_was_written_into_it(two_lanes):
    for lane, state in enumerate(STATES):
        found = two_lanes.read(lane)
        assert found.keys() == state.keys()
        assert all(found[name].equal(value) for name, value in state.items())
    assert two_lanes.flat.count_nonzero() == 2 * (14 + 3)
    assert two_lanes.views[0][1, 4, 2] == -28  # input 4 of output 2
    (kept,) = two_lanes.keep(torch.tensor([1])).views[1].tolist()
    assert kept[0][:4] == [-2, -4, -6, 0]
    assert two_lanes.like().flat.count_nonzero() == 0


def test_norms_and_factors_are_of_each_lane(two_lanes):
    # 0² + ... + 14² + 1² + 2² + 3² = 1015 + 14
    assert two_lanes.norms().tolist() == pytest.approx([1029**0.5, 2 * 1029**0.5])
    two_lanes.scale(torch.tensor([2.0, 0.5]))
    assert two_lanes.norms().tolist() == pytest.approx([2 * 1029**0.5, 1029**0.5])


def test_a_policy_that_lacks_a_parameter_is_an_error(two_lanes):
    with pytest.raises(KeyError, match="bias"):
        two_lanes.write(0, {"weight": STATES[0]["weight"]})
