"""Use one torch thread in the whole session: more threads would compete for the cores."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)
