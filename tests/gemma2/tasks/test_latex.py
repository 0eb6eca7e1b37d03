"""LaTeX: the numbers that are read from it."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from pkpo_sandbox.gemma2.tasks import latex as tex


@pytest.mark.parametrize(
    ("latex", "value"),
    [
        ("1,234.5", "1234.5"),
        ("-.5", "-0.5"),
        ("3.", "3"),
        (r"1\frac{1}{3}", "4/3"),
        ("1 1/3", "4/3"),
        (r"0.1\overline{6}", "1/6"),
        (r"2\times10^{-3}", "0.002"),
        ("10^3", "1000"),
        (r"\frac{1}{0}", None),
        ("1,23", None),
        ("x", None),
        ("1" * 1001, None),
    ],
)
def test_a_number_is_read_exactly(latex, value):
    from fractions import Fraction

    assert tex.number(latex) == (None if value is None else Fraction(value))
