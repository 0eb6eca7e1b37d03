"""Functions that the tests of the verifier run in processes. The module imports little."""

import os
import time

from pkpo_sandbox.gemma2.tasks.verifier import Verifier


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


def scored(answer: str) -> list[float]:
    """The scores of "a" and of an answer, in processes of their own."""
    verifier = Verifier(slow_or_deadly, workers=1)
    try:
        return verifier([("a", "a"), ("a", answer)])
    finally:
        verifier.close()
