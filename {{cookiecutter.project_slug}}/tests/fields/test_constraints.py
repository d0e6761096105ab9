"""What a database would have to know of an encrypted value to keep: refused, but for NULL."""

from typing import Any

import pytest
from django.db import connection, models
from django.db.models.functions import Lower, Upper

from apps.fields import EncryptedCharField, EncryptedFieldError

pytestmark = pytest.mark.django_db


class Unmade(models.Model):
    """A model whose constraints the database cannot have."""

    text = EncryptedCharField(max_length=9, searchable=True)

    class Meta:
        app_label = "unmade"
        managed = False

    def __str__(self) -> str:
        return "unmade"


def editor() -> Any:
    """Return what writes the SQL of migrations; it is not run."""
    made = connection.schema_editor(collect_sql=True)
    made.deferred_sql = []
    return made


@pytest.mark.parametrize(
    "constraint",
    [
        models.UniqueConstraint("text", name="of_expressions"),
        models.UniqueConstraint(Lower("text"), name="of_a_function"),
        models.UniqueConstraint(
            fields=["id"], condition=models.Q(text="x"), name="with_a_condition"
        ),
        models.CheckConstraint(condition=models.Q(text="x"), name="check"),
        models.CheckConstraint(condition=models.Q(text__in=["x"]), name="check_in"),
        models.CheckConstraint(condition=models.Q(text=models.F("id")), name="check_columns"),
        models.Index("text", name="of_expressions"),
        models.Index(models.F("text").desc(), name="descending"),
        models.Index(fields=["id"], condition=models.Q(text="x"), name="with_a_condition"),
    ],
    ids=lambda constraint: f"{type(constraint).__name__}-{constraint.name}",
)
def test_constraints_and_indexes_of_the_value_are_refused(constraint: Any) -> None:
    with pytest.raises(EncryptedFieldError):
        str(constraint.create_sql(Unmade, editor()))


def test_a_check_for_null_works() -> None:
    constraint = models.CheckConstraint(condition=models.Q(text__isnull=False), name="filled")
    assert "IS NOT NULL" in str(constraint.constraint_sql(Unmade, editor()))


def test_a_generated_column_is_refused() -> None:
    class Generated(models.Model):
        text = EncryptedCharField(max_length=9)
        shout = models.GeneratedField(
            expression=Upper("text"),
            output_field=models.TextField(),
            db_persist=True,
        )

        class Meta:
            app_label = "generated"

        def __str__(self) -> str:
            return "generated"

    with pytest.raises(EncryptedFieldError):
        editor().create_model(Generated)
