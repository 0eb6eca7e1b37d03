"""The models: sizes that are refused, and a tiny one that is a function of its seed."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from pkpo_sandbox.gemma2.models import PretrainedGemma2


def test_the_reference_model_is_of_the_revision_that_is_trained():
    model = PretrainedGemma2("google/gemma-2-2b-it", revision="abc")
    with pytest.raises(ValueError, match="that of the default revision, not abc: give a folder"):
        model.check({"beta": 0.01, "use_cpu": True})
