"""The asynchronous methods of the ORM."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connections
from django.db.models import F, Max

from apps.fields import EncryptedFieldError
from tests.fields.library.models import Loan, Reader

pytestmark = pytest.mark.django_db(transaction=True)

ADA, BOB = "Ada@Example.com", "bob@example.com"


async def make() -> Reader:
    return await Reader.objects.acreate(email=ADA, name="Ada")


async def _reads() -> None:
    ada = await make()
    bob = await Reader.objects.acreate(email=BOB, name="Bob")
    assert await Reader.objects.aget(email="ADA@example.com") == ada
    assert [reader.email async for reader in Reader.objects.order_by("pk")] == [ADA, BOB]
    assert [r.name async for r in Reader.objects.order_by("pk").aiterator(1)] == ["Ada", "Bob"]
    rows = Reader.objects.filter(email=BOB)
    assert [row async for row in rows.values_list("email", flat=True)] == [BOB]
    assert await rows.aexists()
    assert await rows.acount() == 1
    assert await rows.afirst() == await rows.alast() == bob
    assert await rows.acontains(bob)
    assert await Reader.objects.ain_bulk([ADA], field_name="email") == {ADA: ada}
    loan = await ada.loans.acreate(book="Emma", shelf="a", place="b")
    assert await Loan.objects.select_related("reader").aget(book="EMMA", reader__email=ADA) == loan


async def _writes() -> None:
    ada = await make()
    ada.name = "Countess"
    await ada.asave(update_fields=["name"])
    assert await Reader.objects.filter(name="Countess").aupdate(plain="x") == 1
    assert await Reader.objects.filter(email=ADA).aupdate(name="Lovelace") == 1
    await ada.arefresh_from_db()
    assert (ada.name, ada.plain) == ("Lovelace", "x")
    await Reader.objects.abulk_create([Reader(email=BOB, name="Bob")])
    bob = await Reader.objects.aget(name="Bob")
    bob.name = "Robert"
    assert await Reader.objects.abulk_update([bob], ["name"]) == 1
    assert await Reader.objects.aget_or_create(email="BOB@example.com") == (bob, False)
    _bob, made = await Reader.objects.aupdate_or_create(email=BOB, defaults={"name": "Rob"})
    assert not made
    assert await Reader.objects.filter(name="Rob").adelete() == (1, {"library.Reader": 1})
    with pytest.raises(IntegrityError):
        await Reader.objects.acreate(email="ADA@EXAMPLE.COM", name="Twice")
    await ada.adelete()
    assert not await Reader.objects.aexists()


async def _refusals() -> None:
    await make()
    with pytest.raises(EncryptedFieldError):
        await Reader.objects.order_by("email").afirst()
    with pytest.raises(EncryptedFieldError):
        await Reader.objects.aaggregate(Max("email"))
    with pytest.raises(EncryptedFieldError):
        await Reader.objects.aupdate(name=F("email"))
    with pytest.raises(EncryptedFieldError):
        await Reader.objects.alatest("email")
    with pytest.raises(EncryptedFieldError):
        [row async for row in Reader.objects.values("name").distinct()]


async def _then_close(test: Coroutine[Any, Any, None]) -> None:
    try:
        await test
    finally:
        await sync_to_async(connections.close_all)()


def test_reads() -> None:
    asyncio.run(_then_close(_reads()))


def test_writes() -> None:
    asyncio.run(_then_close(_writes()))


def test_refusals() -> None:
    asyncio.run(_then_close(_refusals()))
