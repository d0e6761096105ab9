"""What a test expects of a query that cannot work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction

from apps.fields import EncryptedFieldError


@contextmanager
def refused(advice: str) -> Iterator[None]:
    """Expect `EncryptedFieldError` with a message that names a field and says what to do."""
    with pytest.raises(EncryptedFieldError, match=advice) as caught, transaction.atomic():
        yield
    assert "encrypted" in str(caught.value)
    assert "library." in str(caught.value)


def answered(queries: Mapping[str, Callable[[], Any]], advice: str) -> list[str]:
    """Return the names of those queries that are not refused in this way."""
    names = []
    for name, query in queries.items():
        try:
            with refused(advice):
                result = query()
                if hasattr(result, "query"):
                    list(result)
        except (Exception, pytest.fail.Exception):
            names.append(name)
    return names
