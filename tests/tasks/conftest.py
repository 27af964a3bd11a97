"""What the tests of stages share."""

import pytest

from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A small world to evaluate in, for whoever leaves it as it is."""
    return small_evaluation.build(tmp_path_factory.mktemp("root"))
