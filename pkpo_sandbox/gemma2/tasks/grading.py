# pyright: reportMissingImports=false
# (math-verify comes with an optional extra: types are checked where it is installed.)
"""Decide whether two mathematical answers are equivalent.

math-verify compares expressions by computer algebra. This module first compares what math-verify
does not handle: trailing punctuation, texts, units, numerals with a base, decimals, lists, ±,
intervals. For example math-verify drops indices, so that 4321_5 equals 4321_6, and it compares
decimals to six places only.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pkpo_sandbox.gemma2.tasks import latex as tex

CLOSE = 1e-12  # numbers within this relative difference are equal, such as 0.1+0.2 and 0.3
_VARIABLE = r"(?:[A-Za-z]|\\(?:theta|alpha|beta|gamma|lambda|mu|phi|omega))"
_NAMED = re.compile(
    rf"({_VARIABLE})\s*(?:\(\s*{_VARIABLE}\s*\))?\s*(=|\\in(?![A-Za-z]))\s*(.*)", re.DOTALL
)
_BUILDER = re.compile(rf"{_VARIABLE}[^|:,]*?(?:\||:|\\mid(?![A-Za-z]))(.*)", re.DOTALL)
_EMPTY = {r"\emptyset", r"\varnothing", r"\{ \}", r"\{\}"}
_REALS = {r"\mathbb{R}", r"\mathbb R", r"\R", r"\Reals", r"\reals"}
_OPPOSITE = {"<": ">", r"\le": r"\ge", ">": "<", r"\ge": r"\le"}


@dataclass(frozen=True)
class Parts:
    """An answer with several parts.

    :param items: the parts
    :param brackets: the brackets around them if their order counts; None for a set or a list
    """

    items: tuple[str, ...]
    brackets: tuple[str, str] | None = None


def is_equivalent(gold: str, answer: str) -> float:
    """Return 1 if a LaTeX answer is equivalent to the right one, else 0. Not symmetric.

    Lists and sets are equal in any order. ``a ± b`` is a list of two. Pairs and intervals must have
    the same order and brackets. Percent signs are ignored, as in MATH's own grading. Units are
    compared only if both answers have a known unit. Numerals in different bases are not equal.

    The comparison may never end. So it runs in a process of
    :class:`~pkpo_sandbox.gemma2.tasks.verifier.Verifier`, which kills it after a time limit.
    """
    gold, answer = tex.cleaned(gold), tex.cleaned(answer)
    if gold == answer:
        return 1.0
    return float(bool(answer) and _same(gold, answer))


def _same(gold: str, answer: str) -> bool:
    gold, answer = _without_names(gold, answer)
    if gold == answer:
        return True
    wanted, given = parts(gold), parts(answer)
    if wanted is None and given is None:
        return _same_single(gold, answer)
    if "" in (gold, answer):
        return False
    if _same_parts(wanted or Parts((gold,)), given or Parts((answer,))):
        return True
    single = wanted is None or given is None  # for example an expression whose value is a list
    return (single or r"\cup" in gold + answer) and _same_by_algebra(gold, answer)


def _same_parts(gold: Parts, answer: Parts) -> bool:
    if gold.brackets is None and answer.brackets is None:
        return _same_in_any_order(gold.items, answer.items)
    if None not in (gold.brackets, answer.brackets) and gold.brackets != answer.brackets:
        return False
    same_length = len(gold.items) == len(answer.items)
    return same_length and all(map(_same, gold.items, answer.items))


def _without_names(gold: str, answer: str) -> tuple[str, str]:
    """Remove "x =" and "x in", if only one answer has it or both have the same variable."""
    named = [_NAMED.fullmatch(side) for side in (gold, answer)]
    names = {match[1] for match in named if match}
    if len(names) != 1 or any(
        match is None and "=" in side for match, side in zip(named, (gold, answer), strict=True)
    ):
        return gold, answer
    gold, answer = (m[3] if m else side for m, side in zip(named, (gold, answer), strict=True))
    return gold, answer


def parts(latex: str) -> Parts | None:
    """Split a list, set, pair, interval, union or ± expression. None for a single item."""
    if latex in _EMPTY:
        return Parts(())
    if latex in _REALS:
        return Parts((r"-\infty", r"\infty"), ("(", ")"))
    if tex.number(tex.quantity(latex)[0]) is not None:
        return None
    latex = tex.unwrapped_lists(latex).strip()
    items = tex.split(latex, ",", ";", "or", "and", r"\cup", r"\lor")
    if len(items) > 1:
        return Parts(tuple(_flat([item for item in items if item])))
    if interval := _interval(latex):
        return interval
    if re.search(r"\\[pm]{2}(?![A-Za-z])", latex):
        return Parts(_both_signs(latex))
    ratio = tex.split(latex, ":")
    if len(ratio) > 1 and all(tex.number(item) is not None for item in ratio):
        return Parts(tuple(ratio), (":", ":"))
    inside = tex.enclosed(latex)
    if inside is None:
        return None
    opening, content, closing = inside
    items = tex.split(content, ",", ";")
    if opening in (r"\{", r"\lbrace"):
        builder = _BUILDER.fullmatch(content)
        return _interval(builder[1]) if builder else Parts(tuple(_flat(items)))
    brackets = (opening.replace(r"\langle", "("), closing.replace(r"\rangle", ")"))
    return Parts(tuple(items), brackets) if len(items) > 1 else None


def _flat(items: Sequence[str]) -> list[str]:
    """Flatten lists inside a list."""
    flat = []
    for item in items:
        named = _NAMED.fullmatch(item)
        inner = parts(named[3] if named else item)
        flat += inner.items if inner is not None and inner.brackets is None else [item]
    return flat


def _both_signs(latex: str) -> tuple[str, str]:
    upper = re.sub(r"\\pm(?![A-Za-z])", "+", re.sub(r"\\mp(?![A-Za-z])", "-", latex))
    lower = re.sub(r"\\pm(?![A-Za-z])", "-", re.sub(r"\\mp(?![A-Za-z])", "+", latex))
    return upper.strip().removeprefix("+").strip(), lower.strip().removeprefix("+").strip()


def _interval(latex: str) -> Parts | None:
    r"""Convert ``0 < x \le 1`` or ``x > 3`` to an interval. None for other expressions."""
    sides = tex.split(latex, *_OPPOSITE)
    signs = [token for token, _, depth in tex.tokens(latex) if depth == 0 and token in _OPPOSITE]
    if len(sides) == 2 and re.fullmatch(_VARIABLE, sides[1]):
        sides, signs = sides[::-1], [_OPPOSITE[signs[0]]]
    if len(sides) == 2 and re.fullmatch(_VARIABLE, sides[0]):
        if signs[0] in (">", r"\ge"):
            return Parts((sides[1], r"\infty"), ("(" if signs[0] == ">" else "[", ")"))
        return Parts((r"-\infty", sides[1]), ("(", ")" if signs[0] == "<" else "]"))
    if len(sides) == 3 and re.fullmatch(_VARIABLE, sides[1]):
        if all(sign in (">", r"\ge") for sign in signs):
            sides, signs = sides[::-1], [_OPPOSITE[sign] for sign in signs[::-1]]
        if all(sign in ("<", r"\le") for sign in signs):
            opening, closing = "(" if signs[0] == "<" else "[", ")" if signs[1] == "<" else "]"
            return Parts((sides[0], sides[2]), (opening, closing))
    return None


def _same_in_any_order(gold: Sequence[str], answer: Sequence[str]) -> bool:
    if len(gold) != len(answer):
        return False
    left = list(answer)
    for item in gold:
        match = next((other for other in left if other == item), None)
        if match is None:
            match = next((other for other in left if _same(item, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_single(gold: str, answer: str) -> bool:
    """Compare two answers that are single items."""
    # 1. numerals with a base; base ten is a plain number
    numerals = [tex.numeral(side) for side in (gold, answer)]
    if any(numerals):
        gold, answer = (
            found[0] if found and found[1] == "10" else side
            for found, side in zip(numerals, (gold, answer), strict=True)
        )
        others = [found for found in numerals if found and found[1] != "10"]
        if others:
            return len(others) == 2 and others[0] == others[1]
    # 2. texts
    text = any(tex.words(side) is not None or _is_time(side) for side in (gold, answer))
    if text or tex.has_text(gold) or tex.has_text(answer):
        same = tex.spoken(tex.unwrapped(gold)) == tex.spoken(tex.unwrapped(answer))
        if text or same:
            return same
    # 3. units
    (gold, wanted), (answer, given) = tex.quantity(gold), tex.quantity(answer)
    if wanted and given and wanted != given:
        if (wanted.dimension, wanted.power) != (given.dimension, given.power):
            return False
        scale = (given.scale / wanted.scale) ** given.power
        answer = rf"\frac{{{scale.numerator}}}{{{scale.denominator}}}\cdot({answer})"
    # 4. numbers, exactly
    numbers = tex.number(gold), tex.number(answer)
    if None not in numbers:
        return numbers[0] == numbers[1]
    # 5. everything else
    return tex.indices(gold) == tex.indices(answer) and _same_by_algebra(gold, answer)


def _is_time(latex: str) -> bool:
    return tex.has_text(latex) and re.search(r"\d:\d\d", latex) is not None


def _same_by_algebra(gold: str, answer: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    # Silence its warning that its own timeouts, by signal.alarm, are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    wanted, given = (
        parse(f"\\boxed{{{side}}}", [LatexExtractionConfig()], parsing_timeout=None)  # type: ignore[arg-type]
        for side in (gold, answer)
    )
    if not verify(wanted, given, float_rounding=12, timeout_seconds=None):
        return False
    return not (wanted and given and _apart(wanted[0], given[0]))


def _apart(a: Any, b: Any) -> bool:
    """Whether both are numbers and differ by more than a relative ``CLOSE``."""
    from sympy import Expr

    if not all(isinstance(side, Expr) and side.is_number for side in (a, b)):
        return False
    try:
        x, y = (complex(side.evalf(30)) for side in (a, b))
        difference = complex((a - b).evalf(30, chop=False))
    except (TypeError, ValueError, OverflowError):
        return False
    return abs(difference) > CLOSE * max(abs(x), abs(y))
