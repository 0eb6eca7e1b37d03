"""Values of any type as JSON, as text and as numbers."""

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pkpo_sandbox.runs.values import number, plain, printable, restored


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Plain:
    pass


INF = float("inf")
HUGE = 10**400  # beyond all floats
GIANT = 1 << 20_000  # beyond the digits that Python writes

# value, as JSON, as text, as a number
VALUES: list[tuple[Any, Any, str, Any]] = [
    (None, None, "None", None),
    (True, True, "True", True),
    (3, 3, "3", 3),
    (0.1, 0.1, "0.1", 0.1),
    (INF, "inf", "inf", INF),
    (-np.inf, "-inf", "-inf", -INF),
    (HUGE, HUGE, str(HUGE), None),
    (GIANT, hex(GIANT), hex(GIANT), None),
    (1j, "1j", "1j", None),
    ("won", "won", "won", None),
    ("\udc80\0", "\udc80\0", r"\udc80\x00", None),
    (b"x\xff", r"b'x\xff'", r"b'x\xff'", None),
    (np.float32(0.1), 0.10000000149011612, "0.1", 0.10000000149011612),
    (np.float64(INF), "inf", "inf", INF),
    (np.int64(3), 3, "3", 3),
    (np.bool_(True), True, "True", True),
    (np.longdouble(0.5), "0.5", "0.5", None),
    (np.datetime64("2020-01-02"), "2020-01-02", "2020-01-02", None),
    (np.array(0.5), 0.5, "0.5", 0.5),
    (np.array([[3]]), [[3]], "3", 3),
    (np.array([1, INF]), [1.0, "inf"], "[1.0, inf]", None),
    (np.zeros(0), [], "[]", None),
    (np.array([None, "x"]), [None, "x"], "[None, 'x']", None),
    (np.arange(2000), list(range(2000)), str(list(range(2000))), None),
    (torch.tensor(0.1), 0.10000000149011612, "0.10000000149011612", 0.10000000149011612),
    (torch.tensor([1.0, -INF], requires_grad=True), [1.0, "-inf"], "[1.0, -inf]", None),
    (torch.zeros(2, dtype=torch.bfloat16), [0.0, 0.0], "[0.0, 0.0]", None),
    ([1, INF, (2,)], [1, "inf", [2]], "[1, inf, (2,)]", None),
    ([5], [5], "[5]", None),
    ({1: {2}}, {"1": [2]}, "{1: {2}}", None),
    (Path("a"), "a", "a", None),
    (date(2020, 1, 2), "2020-01-02", "2020-01-02", None),
    (Silent(), "<Silent>", "<Silent>", None),
]


def id_of(entry: Any) -> str:
    return f"{type(entry[0]).__name__}"


@pytest.mark.parametrize(("value", "json_value", "text", "one"), VALUES, ids=map(id_of, VALUES))
def test_a_value_of_any_type_has_a_form(value, json_value, text, one):
    assert plain(value) == json_value
    assert type(plain(value)) is type(json_value)
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == json_value
    assert printable(value) == text
    assert printable(value).encode("utf-8")
    assert number(value) == one
    assert number(value) is None or type(number(value)) in (bool, int, float)


@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), torch.tensor(math.nan)])
def test_what_is_not_a_number_is_the_text_nan(value):
    assert (plain(value), printable(value)) == ("nan", "nan")
    assert math.isnan(number(value) or 0)


def test_text_has_no_addresses_in_it():
    assert printable(Plain()) == printable(Plain())
    assert plain([Plain()]) == [printable(Plain())]


def test_a_tensor_without_entries_is_text():
    assert plain(torch.zeros(3, device="meta")) == "tensor(..., device='meta', size=(3,))"


def test_numbers_that_are_not_finite_come_back():
    stored = {"a": ["inf", "-inf", "info", 1, None, {"b": "nan"}]}
    found = restored(stored)
    assert found["a"][:5] == [INF, -INF, "info", 1, None]
    assert math.isnan(found["a"][5]["b"])
