"""Settings of the test suite; the isolation of single tests is in the root ``conftest.py``."""

import hypothesis
import pytest
import torch

# deadline: the first call of many functions compiles or imports something and is slow;
# derandomize: the same examples in every run, so that a red build repeats on any machine
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; none was found"))
