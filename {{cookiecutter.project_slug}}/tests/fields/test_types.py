"""Each type of field gives back what a plain one would, and finds what a plain one finds."""

import datetime
import enum
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.fields import (
    EncryptedCharField,
    EncryptedDecimalField,
    EncryptedField,
    EncryptedIntegerField,
    EncryptedJSONField,
)
from tests.fields import stored
from tests.fields.library.models import Everything, Tag, Twin

pytestmark = pytest.mark.django_db

# Without NUL and lone surrogates, which PostgreSQL's text cannot hold.
text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=50)
decimals = st.decimals(-(10**9), 10**9, places=4)  # SQLite holds a plain one as a float
# Python finds a time that occurs twice unequal to the same moment in another zone (PEP 495).
moments = st.datetimes(timezones=st.timezones()).filter(
    lambda moment: 2 < moment.year < 9999 and moment == moment.astimezone(datetime.UTC)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
).filter(lambda value: value is not None)
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "char": text,
    "text": text,
    "email": st.emails(),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "decimal": decimals,
    "date": st.dates(),
    "datetime": moments,
    "time": st.times(),
    "binary": st.binary(max_size=50),
    "boolean": st.booleans(),
    "json": json_values,
}
FEW: dict[str, st.SearchStrategy[Any]] = {  # values, so that some are equal
    "char": st.sampled_from(["", "a", "A", "ä", "a\u0308", "a ", "ß", "ss", "0", "a\x01"]),
    "text": st.sampled_from(["", "\n", "\r\n", "\t", "😀", "👩\u200d🚀", "long " * 1000]),
    "integer": st.integers(-2, 2),
    "decimal": st.sampled_from(["0", "-0", "1", "1.0", "1.0000", "1E+2", "100", "-0.0001"]).map(
        Decimal
    ),
    "date": st.dates(datetime.date(2026, 1, 1), datetime.date(2026, 1, 4)),
    "datetime": st.builds(
        lambda hour, zone: datetime.datetime(
            2026, 10, 25, hour, tzinfo=datetime.timezone(datetime.timedelta(hours=zone))
        ),
        st.integers(0, 3),
        st.integers(-1, 1),
    ),
    "time": st.times(datetime.time(0), datetime.time(0, 0, 0, 3)),
    "binary": st.binary(max_size=1),
}
fast = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def plain(value: Any) -> Any:
    """PostgreSQL gives a view of bytes, which the encrypted field does not."""
    return bytes(value) if isinstance(value, memoryview) else value


@fast
@given(st.fixed_dictionaries({name: st.none() | values for name, values in STRATEGIES.items()}))
def test_round_trip(values: dict[str, Any]) -> None:
    encrypted = Everything.objects.get(pk=Everything.objects.create(**values).pk)
    twin = Twin.objects.get(pk=Twin.objects.create(**values).pk)
    for name, value in values.items():
        read = getattr(encrypted, name)
        assert read == value
        assert read == plain(getattr(twin, name))
        assert type(read) is type(plain(getattr(twin, name)))
        assert (stored.read(encrypted, name) is None) is (value is None)


@pytest.mark.parametrize("name", FEW)
@fast
@given(data=st.data())
def test_lookups_equal_those_of_a_plain_column(name: str, data: st.DataObject) -> None:
    values = st.none() | FEW[name]
    rows = data.draw(st.lists(values, max_size=6))
    wanted = data.draw(st.lists(values, max_size=3))
    both: list[type[models.Model]] = [Everything, Twin]
    for model in both:
        model._default_manager.all().delete()
        model._default_manager.bulk_create(
            model(pk=number, **{name: value}) for number, value in enumerate(rows, 1)
        )

    def agree(condition: dict[str, Any]) -> bool:
        found = [
            [
                set(model._default_manager.filter(**condition).values_list("pk", flat=True)),
                set(model._default_manager.exclude(**condition).values_list("pk", flat=True)),
            ]
            for model in both
        ]
        return found[0] == found[1]

    assert agree({f"{name}__in": wanted})
    for value in wanted:
        assert agree({name: value})


def same(field: EncryptedField, value: Any) -> Any:
    """Return what a field makes of a value on its way to a column and back."""
    field.set_attributes_from_name("x")
    field.model = Everything
    return field.decrypt(field.encrypt(field.get_prep_value(value)))


def test_integers_of_any_size() -> None:
    field = EncryptedIntegerField()
    for value in (10**100, -(10**100)):
        assert same(field, value) == value
        assert field.clean(value, None) == value


def test_decimals_are_rounded_and_limited_as_by_a_plain_field() -> None:
    field = EncryptedDecimalField(max_digits=5, decimal_places=2)
    assert same(field, Decimal("1.005")) == Decimal("1.00")
    assert str(same(field, 1)) == "1.00"
    for value in (Decimal("1234.5"), Decimal("0.001")):
        with pytest.raises(ValidationError):
            field.clean(value, None)


@pytest.mark.parametrize("places", [{}, {"max_digits": 9, "decimal_places": 3}])
@pytest.mark.parametrize(
    "equal",
    [["1", "1.0", "1.000"], ["0", "-0", "0.0", "-0.000"], ["100", "1E+2", "100.0"], ["0.1", ".10"]],
)
def test_equal_decimals_have_the_same_bytes(places: dict[str, Any], equal: list[str]) -> None:
    field = EncryptedDecimalField(**places)
    assert len({field.to_bytes(Decimal(text)) for text in equal}) == 1


def test_a_negative_decimal_that_rounds_to_zero_is_zero() -> None:
    field = EncryptedDecimalField(max_digits=5, decimal_places=2)
    assert field.to_bytes(Decimal("-0.001")) == field.to_bytes(Decimal(0))


class Colour(models.TextChoices):
    """Choices as Django knows them."""

    RED = "red"


class Plain(str, enum.Enum):  # noqa: UP042 (whose str() is not its value)
    """Choices as Python knew them."""

    RED = "red"


class Number(models.IntegerChoices):
    """Choices of numbers."""

    ONE = 1


@pytest.mark.parametrize("red", [Colour.RED, Plain.RED])
def test_members_of_an_enumeration_are_their_values(db: None, red: Any) -> None:
    tag = Tag.objects.create(word=red, colour=red)
    tag.refresh_from_db()
    assert (tag.word, tag.colour) == ("red", "red")
    assert Tag.objects.filter(colour=red, word__in=["red"]).exists()
    one = Everything.objects.create(integer=Number.ONE)
    assert Everything.objects.get(integer=1) == one


def test_a_moment_is_returned_in_utc(db: None) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=5))
    moment = datetime.datetime(2026, 1, 1, 3, 4, 5, 6, tzinfo=zone)
    Everything.objects.create(datetime=moment)
    found = Everything.objects.get(datetime=moment.astimezone(datetime.UTC))
    assert found.datetime == moment
    assert found.datetime.utcoffset() == datetime.timedelta(0)


def test_both_hours_when_clocks_go_back(db: None) -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zone)
    rows = [Everything.objects.create(datetime=first.replace(fold=fold)) for fold in (0, 1)]
    for row, fold in zip(rows, (0, 1), strict=True):
        assert Everything.objects.get(datetime=first.replace(fold=fold)) == row


def test_a_time_with_a_zone_is_refused(db: None) -> None:
    with pytest.raises(ValueError, match="time zone"):
        Everything.objects.create(time=datetime.time(10, tzinfo=datetime.UTC))


def test_json_with_encoder_and_decoder() -> None:
    class Decoder(json.JSONDecoder):
        def decode(self, text: str, *args: Any) -> Any:
            return ["decoded", super().decode(text, *args)]

    field = EncryptedJSONField(encoder=DjangoJSONEncoder, decoder=Decoder)
    assert same(field, {"day": datetime.date(2026, 1, 2)}) == ["decoded", {"day": "2026-01-02"}]
    values: list[Any] = ["text", 1, [], {}, False]
    for value in values:
        assert same(EncryptedJSONField(), value) == value


def test_binary_is_made_of_bytes_only(db: None) -> None:
    for value in (5, "text"):
        with pytest.raises(TypeError):
            Everything.objects.create(binary=value)


@pytest.mark.parametrize(
    "value", ["", " ", "a" * 100_000, "😀" * 10_000, "\r\n\t", "\x00", "\u202e", "é", "e\u0301"]
)
def test_texts_are_returned_as_they_were(db: None, value: str) -> None:
    tag = Tag.objects.create(word=value, colour=value[:20])
    assert Tag.objects.get(word=value).word == value
    assert Tag.objects.get(pk=tag.pk).colour == value[:20]


def test_the_longest_text_is_a_rule_of_forms_as_everywhere() -> None:
    field = EncryptedCharField(max_length=3)
    with pytest.raises(ValidationError, match="at most 3"):
        field.clean("four", None)


CANARY = "canary-4711"


@pytest.mark.parametrize("name", ["integer", "decimal", "date", "datetime", "time", "boolean"])
def test_a_value_of_another_type_is_not_shown(name: str) -> None:
    makers: list[Callable[..., Any]] = [
        Everything.objects.create,
        Everything.objects.filter(pk=1).update,
    ]
    if name != "boolean":
        makers.append(Everything.objects.filter)
    for make in makers:
        with pytest.raises((ValueError, TypeError, ValidationError)) as caught:
            make(**{name: CANARY})
        assert CANARY not in str(caught.value)
        assert caught.value.__suppress_context__
        assert f"library.Everything.{name}" in str(caught.value)
