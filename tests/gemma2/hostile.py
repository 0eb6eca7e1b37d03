"""A scoring function for the tests of the verifier; its module is light, so workers start fast."""

import os
import time


def slow_or_deadly(gold: str, answer: str) -> float:
    """An answer says what happens to its worker."""
    if answer == "sleep":
        time.sleep(60)
    while answer == "spin":
        pass
    if answer == "die":
        os._exit(1)
    if answer == "memory":
        return float(len(bytearray(8 * 2**30)))
    if answer == "raise":
        raise RuntimeError("as told")
    return float(gold == answer)
