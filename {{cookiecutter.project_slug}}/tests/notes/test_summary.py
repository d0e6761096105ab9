"""The totals on the list page: cached, and never wrong for it."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.notes import summary as module
from apps.notes.models import Note
from apps.notes.summary import Summary, forget_summary, summary
from apps.users.models import User
from tests.notes.conftest import change, upload, write

pytestmark = pytest.mark.django_db(transaction=True)


def test_totals_follow_every_change(user_client: Client, user: User) -> None:
    assert summary(user) == Summary(notes=0, size=0)
    note = write(user_client, upload(b"12345"))
    assert summary(user) == Summary(notes=1, size=5)
    write(user_client)
    assert summary(user) == Summary(notes=2, size=5)
    change(user_client, note, upload(b"123"))
    assert summary(user) == Summary(notes=2, size=3)
    change(user_client, note, remove_file="on")
    assert summary(user) == Summary(notes=2, size=0)
    user_client.post(f"{note.get_absolute_url()}delete/")
    assert summary(user) == Summary(notes=1, size=0)


def test_the_list_shows_the_totals(user_client: Client) -> None:
    write(user_client, upload(b"x" * 2048))
    assert "1 note, 2.0\xa0KB of files" in user_client.get("/notes/").text


def test_totals_are_counted_once(
    user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        assert summary(user) == summary(user)


def test_totals_are_each_users_own(
    user_client: Client, user: User, stranger_client: Client
) -> None:
    write(user_client)
    write(stranger_client)
    write(stranger_client)
    assert summary(user).notes == 1


def test_a_count_begun_before_a_change_is_not_used_after_it(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = module._count

    def count_slowly(of: User) -> tuple[Summary, float]:
        counted = count(of)
        Note.objects.create(owner=user, title="Meanwhile")
        forget_summary(user)
        return counted

    with monkeypatch.context() as slow:
        slow.setattr(module, "_count", count_slowly)
        assert summary(user).notes == 0
    assert summary(user).notes == 1


def test_totals_are_kept_no_longer_than_they_hold(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    monkeypatch.setattr(cache, "set", lambda _key, _value, seconds: times.append(seconds))
    summary(user)
    Note.objects.create(owner=user, title="Soon", expires_at=timezone.now() + timedelta(seconds=20))
    summary(user)
    assert times[0] == 300
    assert 15 < times[1] <= 20
