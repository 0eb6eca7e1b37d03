"""LaTeX: numbers, units, texts and lists are parsed."""

from fractions import Fraction

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
    assert tex.number(latex) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("latex", "value", "unit"),
    [
        (r"10\text{ cm}^2", "10", tex.Unit("length", Fraction(1, 100), 2)),
        ("10 cm", "10", tex.Unit("length", Fraction(1, 100))),
        (r"\$5", "5", tex.Unit("money", Fraction(1))),
        (r"90^\circ", "90", tex.Unit("angle", Fraction(1))),
        ("2 xy", "2 xy", None),  # a product
    ],
)
def test_a_quantity_is_a_value_and_its_unit(latex, value, unit):
    assert tex.quantity(latex) == (value, unit)


@pytest.mark.parametrize(
    ("latex", "numeral"),
    [("1101_2", ("1101", "2")), (r"AB_{sixteen}", ("AB", "16")), ("12", None)],
)
def test_a_numeral_has_digits_and_a_base(latex, numeral):
    assert tex.numeral(latex) == numeral


def test_lists_are_split_outside_of_brackets_only():
    assert tex.split("(1,2),3", ",") == ["(1,2)", "3"]
    assert tex.enclosed("(1,2)") == ("(", "1,2", ")")
    assert tex.enclosed("(1)(2)") is None


@pytest.mark.parametrize(("latex", "said"), [(r"\text{Even}", "even"), ("12", None)])
def test_a_text_is_compared_by_its_words(latex, said):
    assert tex.words(latex) == said
