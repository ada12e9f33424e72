"""The yard of most property-based tests: nothing is in it."""

from collections.abc import Iterator

import pytest

from .fuzzing import Yard, opened


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with opened(tmp_path_factory.mktemp("yard")) as yard:
        yield yard
