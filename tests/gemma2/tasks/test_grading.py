"""Mathematical answers: pairs written by hand, each with the right result."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from pkpo_sandbox.gemma2.tasks.grading import is_equivalent

FILE = Path(__file__).parent / "data" / "math_pairs.yaml"
PAIRS = {
    f"{kind}: {gold} | {answer}": (gold, answer, verdict)
    for kind, pairs in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()
    for gold, answer, verdict in pairs
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_verdict_on_a_pair(pair):
    gold, answer, verdict = pair
    assert is_equivalent(gold, answer) == verdict


def test_no_right_answer_is_beyond_reach():
    """Each gold answer is worth 1 as it stands, also with a mark at its end."""
    for gold, _, _ in PAIRS.values():
        assert is_equivalent(gold, gold) == 1
        assert is_equivalent(gold + ".", gold) == is_equivalent(gold, gold + ".") == 1
