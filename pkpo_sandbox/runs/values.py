"""Converts values of any type to JSON, text or a number, for logs and configs.

Importing this module loads neither NumPy nor torch.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

LONG = 10_000  #: bits; by default Python refuses to print such long integers in decimal


def plain(value: Any) -> Any:
    """Convert any value to one that JSON can represent.

    Arrays and tensors become lists and numbers. Other values become text if JSON cannot represent
    them: infinite numbers and NaN ("inf", "-inf", "nan"), complex numbers, any other object.
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
    """Convert the texts "inf", "-inf" and "nan" from :func:`plain` back to numbers."""
    if isinstance(value, dict):
        return {key: restored(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [restored(entry) for entry in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def text(value: Any) -> str:
    """Any value as text. Equal values have equal text, because memory addresses are left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and value.bit_length() >= LONG:
        return hex(value)
    try:
        return re.sub(r" at 0x[0-9A-Fa-f]+", "", str(value))
    except Exception:  # a __str__ of the user's class may fail
        return f"<{type(value).__qualname__}>"


def printable(value: Any) -> str:
    """Any value as text for a file. Arrays are written with all entries and all digits.

    Characters that UTF-8 or CSV readers do not support (lone surrogates, NUL) become escapes.
    """
    scalar = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    if not scalar:  # str() prints a NumPy scalar with all digits, but not a tensor
        value = single(value)
    whole = text(value).encode("utf-8", "backslashreplace").decode()
    return whole.replace("\0", r"\x00")


def number(value: Any) -> int | float | None:
    """A value as a Python number. None if it is not a number, or too large for a float.

    :param value: any value; an array or a tensor with one entry counts as a number
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
    """The entry of an array with one entry; nested lists for another array; else the value."""
    listed = entries(value)
    if listed is value:
        return value
    while isinstance(listed, list) and len(listed) == 1:
        listed = listed[0]
    return listed


def entries(value: Any) -> Any:
    """An array or a tensor as nested lists, or as a number if it has no axes; else the value."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        try:
            listed = value.tolist()
        except Exception:  # for example a tensor on the device "meta", which has no entries
            return value
        if not hasattr(listed, "dtype"):  # tolist() of a long double returns the long double
            return listed
    return value
