"""Sessions: what is stored of them does not open them."""

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client

from apps.users.models import User
from apps.users.sessions import SessionStore, stored_key
from tests.conftest import SecureClient

HOME = "/notes/" if "apps.notes" in settings.INSTALLED_APPS else "/accounts/password/"


def cookie(client: Client) -> str:
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def is_logged_in(session_key: str) -> bool:
    client = SecureClient()
    client.cookies[settings.SESSION_COOKIE_NAME] = session_key
    return client.get(HOME).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("cached", [True, False])
def test_what_is_stored_opens_no_session(user_client: Client, *, cached: bool) -> None:
    if not cached:
        cache.clear()
    key = cookie(user_client)
    (stored,) = Session.objects.values_list("session_key", flat=True)
    assert is_logged_in(key)
    assert stored == stored_key(key)
    assert not is_logged_in(stored)
    assert f"{SessionStore.cache_key_prefix}{key}" not in cache
    assert (f"{SessionStore.cache_key_prefix}{stored}" in cache) is True


@pytest.mark.django_db
def test_logging_out_and_in_ends_the_session(user_client: Client, user: User) -> None:
    key = cookie(user_client)
    user_client.force_login(user)
    user_client.logout()
    assert not is_logged_in(key)
    assert not Session.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_asynchronous_methods_store_the_same() -> None:
    async def used() -> str:
        session = SessionStore()
        await session.aset("cart", "full")
        await session.asave()
        key = session.session_key
        assert key is not None
        assert await SessionStore().aexists(key)
        await cache.aclear()
        assert await SessionStore(key).aget("cart") == "full"
        await cache.aclear()
        return key

    key = async_to_sync(used)()
    assert SessionStore(key).get("cart") == "full"
    assert Session.objects.get().session_key == stored_key(key)

    async def gone() -> bool:
        await SessionStore(key).adelete()
        return not await SessionStore().aexists(key)

    assert async_to_sync(gone)()
    assert SessionStore(key).get("cart") is None
