"""A pytest plugin that leaves only the tests that use the database.

    python -m pytest -p tests.only_database

Those are the tests that are marked `django_db` and those that ask, if only through
another fixture, for one of the fixtures below.
"""

import pytest

FIXTURES = {"db", "transactional_db", "live_server"}


def uses_database(item: pytest.Item) -> bool:
    """Say whether a test uses the database."""
    marked = item.get_closest_marker("django_db") is not None
    return marked or not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if not uses_database(item)])
    items[:] = filter(uses_database, items)
