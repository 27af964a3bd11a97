"""What the tests of stages share."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tasks.small_evaluation import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> "World":
    """A small world to evaluate in, for whoever leaves it as it is."""
    from tests.tasks import small_evaluation

    return small_evaluation.build(tmp_path_factory.mktemp("root"))
