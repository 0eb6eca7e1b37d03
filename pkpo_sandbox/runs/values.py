"""Values of any type as JSON, as text, or as a number: what users log, and what configs hold.

Importing this module loads neither NumPy nor torch.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

LONG = 10_000  #: bits of an integer that Python does not turn into decimal digits, by default


def plain(value: Any) -> Any:
    """A value as JSON can hold it, whatever it is.

    Arrays and tensors become lists and numbers. What JSON has no place for becomes text: a number
    that is not finite ("inf", "-inf", "nan"), a complex number, any other object.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, int):
        return value if value.bit_length() < LONG else text(value)
    if isinstance(value, Mapping):
        return {text(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    listed = entries(value)
    return text(value) if listed is value else plain(listed)


def restored(value: Any) -> Any:
    """Nested containers with the numbers that :func:`plain` made text of: inf for "inf"."""
    if isinstance(value, dict):
        return {key: restored(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [restored(entry) for entry in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def text(value: Any) -> str:
    """Any value as text. Equal values give equal text: addresses in memory are left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and value.bit_length() >= LONG:
        return hex(value)
    try:
        return re.sub(r" at 0x[0-9A-Fa-f]+", "", str(value))
    except Exception:  # a class of the user's whose own __str__ fails
        return f"<{type(value).__qualname__}>"


def printable(value: Any) -> str:
    """Any value as text for a file. All entries of an array are in it, with all digits.

    What UTF-8 or a reader of CSV has no place for, half a character or a NUL, is an escape in it.
    """
    scalar = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    if not scalar:  # which str() prints in full, unlike a tensor
        value = single(value)
    whole = text(value).encode("utf-8", "backslashreplace").decode()
    return whole.replace("\0", r"\x00")


def number(value: Any) -> int | float | None:
    """A value as a number of Python's; None if it is none, or is beyond all floats.

    :param value: anything; an array or a tensor is a number if it has one entry
    """
    value = single(value)
    if not isinstance(value, int | float):
        return None
    try:
        float(value)
    except OverflowError:
        return None
    return value


def single(value: Any) -> Any:
    """The entry of an array that has one; of another array nested lists; else the value."""
    listed = entries(value)
    if listed is value:
        return value
    while isinstance(listed, list) and len(listed) == 1:
        listed = listed[0]
    return listed


def entries(value: Any) -> Any:
    """The entries of an array or a tensor as nested lists, or the number; else the value."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        try:
            listed = value.tolist()
        except Exception:  # a tensor that has no entries, of the device "meta", for one
            return value
        if not hasattr(listed, "dtype"):  # a long double gives itself
            return listed
    return value
