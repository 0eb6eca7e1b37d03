r"""Parse short LaTeX answers without computer algebra: text, numbers, units, parts.

Pure functions on strings. An answer is the content of ``\boxed{}``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": "/",
        "±": r"\pm ",
        "∓": r"\mp ",
        "°": r"^\circ ",
        "∞": r"\infty ",
        "π": r"\pi ",
        "√": r"\sqrt ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∈": r"\in ",
        "∪": r"\cup ",
        "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "\u00a0": " ",
    }
)
_REWRITTEN = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"(?<!\\)\$|\\[()\[\]](?![a-z])", ""),  # delimiters of mathematics in a text
        (r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr)(?![A-Za-z])\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits)(?![A-Za-z])", ""),
        (r"\\!|\\hspace\*?\{[^{}]*\}", ""),
        (r"\{,\}", ","),
        (r"(?<=\d)\\[,;: ](?=\d{3}(?!\d))", ""),  # 10\,000
        (r"(\\\\)|\\[,;:> ]|\\q?quad(?![A-Za-z])|~", r"\1 "),  # \\ ends a row of a matrix
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\l(?:eq|eqslant)(?![A-Za-z])|<=", r"\\le"),
        (r"\\g(?:eq|eqslant)(?![A-Za-z])|>=", r"\\ge"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        # Percent signs are dropped, as in MATH's own grading.
        (r"\\?%|\\text\{\s*percent\s*\}|(?<=\d)\s*percent\b", ""),
        (r"\\(?:ldots|cdots|dotsc|dotsb)(?![A-Za-z])", r"\\dots"),
        (r"\s+", " "),
    )
)
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|sc|up|normal)?|[mh]box|math(?:rm|bf|it|sf|tt)|operatorname\*?)"
    r"\s*\{([^{}]*)\}"
)
_TRAILING = re.compile(r"(?:[\s.,;:?]|\\\\|\\text\{[\s.]*\}|\\$)+$")


def cleaned(latex: str) -> str:
    """Remove what does not change the answer: spaces, dollars, trailing punctuation, %."""
    latex = latex.translate(_UNICODE)
    for pattern, new in _REWRITTEN:
        latex = pattern.sub(new, latex)
    before = None
    while latex != before:
        before = latex
        latex = _TRAILING.sub("", latex).strip()
        for opening in ("{", r"\boxed{", r"\fbox{"):
            if latex.startswith(opening) and _closes(latex, len(opening) - 1) == len(latex) - 1:
                latex = latex[len(opening) : -1]
    return latex


def unwrapped(latex: str) -> str:
    r"""Replace ``\text{...}`` and similar commands by their content."""
    return _TEXT.sub(r" \1 ", latex)


def unwrapped_lists(latex: str) -> str:
    r"""Unwrap ``\text{1 or 2}`` and ``\text{A, B}``, so that they can be split."""
    return _TEXT.sub(
        lambda match: f" {match[1]} " if re.search(r",|\b(?:or|and)\b", match[1]) else match[0],
        latex,
    )


def has_text(latex: str) -> bool:
    r"""Whether the answer contains ``\text{...}`` or a similar command."""
    return _TEXT.search(latex) is not None


def words(latex: str) -> str | None:
    r"""Return a text answer in lower case without blanks and punctuation, None if it is no text.

    A text is inside ``\text{}`` or has four letters in a row, and it begins with a letter.
    """
    plain = unwrapped(latex)
    if re.search(r"[\\^_=+*/<>{}|&]", plain):
        return None
    if not has_text(latex) and not re.search("[A-Za-z]{4}", plain):
        return None
    said = spoken(plain)
    return said if re.match(r"[a-z]", said) else None


def spoken(plain: str) -> str:
    """Return a text in lower case without blanks. Punctuation stays only inside numbers."""
    return re.sub(r"[.,;!?'\"()-](?!\d)|(?<!\d)[,;!?'\"()](?=\d)|\s", "", plain).lower()


# -- numbers ---------------------------------------------------------------------------------

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)"
_FRACTION = (
    r"(?:\\frac\s*(?:\{\s*(?P<top>[-+]?\d+)\s*\}|(?P<one>\d))\s*"
    r"(?:\{\s*(?P<bottom>[-+]?\d+)\s*\}|(?P<other>\d))|(?P<left>\d+)\s*/\s*(?P<right>\d+))"
)
_NUMBERS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<value>{_DECIMAL})?(?:\s*(?:\\times|\\cdot|\*)\s*|^)10\^\{{?(?P<power>-?\d{{1,3}})\}}?",
        r"(?P<whole>\d*)\.(?P<start>\d*)\\(?:overline|bar)\s*\{?(?P<cycle>\d+)\}?",
        rf"(?P<value>{_DECIMAL})",
        rf"(?:(?P<mixed>\d+)\s*(?=\\)|(?P<spaced>\d+)\s+)?{_FRACTION}",
    )
)


def number(latex: str) -> Fraction | None:
    """Parse the exact value of an integer, decimal, fraction, mixed or repeating number.

    None for everything else, and for an answer of more than 1000 characters.
    """
    match = re.fullmatch(r"([-+]?)\s*(.*)", latex.strip())
    if match is None or len(latex) > 1000:
        return None
    for pattern in _NUMBERS:
        if found := pattern.fullmatch(match[2]):
            value = _value(found.groupdict())
            return -value if value is not None and match[1] == "-" else value
    return None


def _value(part: dict[str, str | None]) -> Fraction | None:
    if "power" in part:
        return Fraction(_plain(part["value"] or "1")) * Fraction(10) ** int(part["power"] or 0)
    if "cycle" in part:
        start, cycle = part["start"] or "", part["cycle"] or ""
        repeated = Fraction(int(cycle), 10 ** len(cycle) - 1) / 10 ** len(start)
        return Fraction(_plain(f"{part['whole'] or 0}.{start or 0}")) + repeated
    if "value" in part:
        return Fraction(_plain(part["value"] or ""))
    top = part["top"] or part["one"] or part["left"] or ""
    bottom = int(part["bottom"] or part["other"] or part["right"] or "")
    return (
        int(part["mixed"] or part["spaced"] or 0) + Fraction(int(top), bottom) if bottom else None
    )


def _plain(decimal: str) -> str:
    return decimal.replace(",", "").rstrip(".")


# -- numerals with a base --------------------------------------------------------------------

_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_BASES |= {"nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16}
_NUMERAL = re.compile(
    r"(?P<sign>-?)\s*\(?\s*(?P<digits>\d[\dA-Z]*|[A-Z][\dA-Z]*)\s*\)?\s*_\s*(?:\{\s*(?P<base>\w+)\s*\}|(?P<one>\w))"
)


def numeral(latex: str) -> tuple[str, str] | None:
    """Parse the digits and the base of ``1101_2`` or ``AB_{sixteen}``. None for everything else.

    The base is a numeral in base ten, or a letter if it is unknown.
    """
    match = _NUMERAL.fullmatch(" ".join(unwrapped(latex).split()).replace("{ ", "{"))
    if match is None:
        return None
    base = match["base"] or match["one"]
    base = str(_BASES.get(base, base))
    digits = match["digits"]
    if digits[0].isalpha() and not (base.isdecimal() and int(base) > 10):
        return None  # a variable with an index
    return match["sign"] + (digits.lstrip("0") or "0"), base


def indices(latex: str) -> list[str]:
    """Return the indices (bases) of all numbers in an answer, in alphabetical order."""
    return sorted(re.findall(r"(?<![\^{\d])\d+\s*\)?\s*_\s*\{?\s*(\w+)", unwrapped(latex)))


# -- units -----------------------------------------------------------------------------------

_SCALES: dict[str, tuple[tuple[str, str, Fraction], ...]] = {
    "length": (
        ("mm", "millimeter", Fraction(1, 1000)),
        ("cm", "centimeter", Fraction(1, 100)),
        ("dm", "decimeter", Fraction(1, 10)),
        ("m", "meter", Fraction(1)),
        ("km", "kilometer", Fraction(1000)),
        ("in", "inch", Fraction(254, 10000)),
        ("ft", "foot", Fraction(3048, 10000)),
        ("yd", "yard", Fraction(9144, 10000)),
        ("mi", "mile", Fraction(1609344, 1000)),
    ),
    "time": (
        ("s", "second", Fraction(1)),
        ("min", "minute", Fraction(60)),
        ("h", "hour", Fraction(3600)),
        ("", "day", Fraction(86400)),
        ("", "week", Fraction(604800)),
    ),
    "mass": (("g", "gram", Fraction(1)), ("kg", "kilogram", Fraction(1000))),
    "money": (("", "cent", Fraction(1, 100)), ("", "dollar", Fraction(1))),
    "speed": (
        ("m/s", "meter per second", Fraction(1)),
        ("km/h", "kilometer per hour", Fraction(5, 18)),
        ("mph", "mile per hour", Fraction(44704, 100000)),
    ),
    "angle": (("", "degree", Fraction(1)),),
}
_IRREGULAR = {"feet": "foot", "inches": "inch", "hrs": "hour", "hr": "hour", "sec": "second"}
_IRREGULAR |= {"metres": "meter", "metre": "meter", "miles/hour": "mph", "kph": "km/h"}
_UNITS = {
    name: (dimension, scale)
    for dimension, units in _SCALES.items()
    for short, long, scale in units
    for name in (short, long)
    if name
}
_QUANTITY = re.compile(
    rf"(?P<value>.*?(?:\d|\\pi).*?)\s*"
    rf"(?:{_TEXT.pattern}|(?<=\d)\s+(?P<plain>[A-Za-z][A-Za-z ]+))"
    r"\s*(?:\^\s*\{?(?P<power>[23])\}?)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Unit:
    """A unit of measurement: 10 cm² has dimension "length", scale 1/100 and power 2."""

    dimension: str
    scale: Fraction
    power: int = 1


def quantity(latex: str) -> tuple[str, Unit | None]:
    """Return an answer without its unit, and the unit. None if it is missing or not known.

    A unit is a word or a degree sign after a number, or a dollar sign before it.
    """
    degrees = re.fullmatch(r"(.*\S)\s*\^\s*\{?\s*\\circ\s*\}?", latex)
    if degrees:
        return degrees[1], Unit("angle", Fraction(1))
    if re.match(r"[-+]?\s*\\\$", latex):
        return latex.replace(r"\$", "", 1), Unit("money", Fraction(1))
    whole = _TEXT.fullmatch(latex)
    if whole:
        latex = whole[1].strip()
    match = _QUANTITY.fullmatch(latex)
    if match is None or ":" in match["value"]:  # 3:30 p.m.
        return latex, None
    said = (match[2] if match["plain"] is None else match["plain"]) or ""
    unit = _unit(said, int(match["power"] or 1))
    if match["plain"] and unit is None and len(said) < 4 and not whole:
        return latex, None  # 2 xy is a product
    return match["value"].strip(), unit


def _unit(said: str, power: int) -> Unit | None:
    said = " ".join(said.lower().replace(".", "").split())
    for word, means in (("square ", 2), ("sq ", 2), ("cubic ", 3)):
        if said.startswith(word):
            said, power = said.removeprefix(word), means
    said = _IRREGULAR.get(said, said).replace("s per ", " per ")
    known = _UNITS.get(said) or _UNITS.get(said.removesuffix("s"))
    return Unit(*known, power) if known else None


# -- parts -----------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.|\b(?:or|and)\b|.",
    re.DOTALL,
)
_OPEN = {"{", "(", "[", r"\{", r"\langle", r"\lbrace"}
_CLOSE = {"}", ")", "]", r"\}", r"\rangle", r"\rbrace"}


def tokens(latex: str) -> Iterator[tuple[str, int, int]]:
    """Yield each token of an answer, its start, and the number of open brackets around it.

    A bracket counts as inside itself.
    """
    depth = 0
    for match in _TOKEN.finditer(latex):
        token = match[0]
        opens = token in _OPEN or token.startswith(r"\begin")
        closes = token in _CLOSE or token.startswith(r"\end")
        depth += opens
        yield token, match.start(), depth
        depth -= closes


def split(latex: str, *separators: str) -> list[str]:
    """Split at separators outside all brackets. The parts have no blanks around them."""
    parts, start = [], 0
    for token, place, depth in tokens(latex):
        if depth == 0 and token in separators:
            parts.append(latex[start:place].strip())
            start = place + len(token)
    return [*parts, latex[start:].strip()]


def enclosed(latex: str) -> tuple[str, str, str] | None:
    """Return the opening bracket, content and closing bracket, if one pair encloses all."""
    found = [(token, place) for token, place, depth in tokens(latex) if depth == 1]
    brackets = [(token, place) for token, place in found if token in _OPEN | _CLOSE]
    if len(brackets) != 2 or brackets[0][1] != 0 or not latex.endswith(brackets[1][0]):
        return None
    (opening, _), (closing, end) = brackets
    return opening, latex[len(opening) : end].strip(), closing


def _closes(latex: str, opening: int) -> int | None:
    """Return the position of the closing brace for the brace at ``opening``, None if missing."""
    for token, place, depth in tokens(latex[opening:]):
        if token == "}" and depth == 1:
            return opening + place
    return None
