"""Models with every kind of encrypted field, and plain twins to compare with."""

# ruff: noqa: DJ001, DJ008 (nobody looks at these models)

from typing import ClassVar

from django.db import models

from apps.fields import (
    EncryptedBinaryField,
    EncryptedBooleanField,
    EncryptedCharField,
    EncryptedDateField,
    EncryptedDateTimeField,
    EncryptedDecimalField,
    EncryptedEmailField,
    EncryptedIntegerField,
    EncryptedJSONField,
    EncryptedTextField,
    EncryptedTimeField,
    casefold,
)


class Reader(models.Model):
    """Somebody with a library card."""

    email = EncryptedEmailField(unique=True, searchable=True)
    name = EncryptedCharField(max_length=100, searchable=True)
    notes = EncryptedTextField(blank=True)
    plain = models.CharField(max_length=100, blank=True)


class Student(Reader):
    """A reader with a table of its own: multi-table inheritance."""

    number = EncryptedIntegerField(unique=True, searchable=True)


class Guest(Reader):
    """A reader without one."""

    class Meta:
        proxy = True


class Stamped(models.Model):
    """An abstract parent with an encrypted field."""

    stamp = EncryptedCharField(max_length=20, searchable=True, default="new")

    class Meta:
        abstract = True


class Loan(Stamped):
    """What a reader has taken home."""

    reader = models.ForeignKey(Reader, on_delete=models.CASCADE, related_name="loans")
    book = EncryptedCharField(max_length=100, searchable=True, normalize=casefold)
    shelf = EncryptedCharField(max_length=10, searchable=True)
    place = EncryptedCharField(max_length=10, searchable=True)
    due = models.DateField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["reader", "book"], name="one_loan_of_a_book"),
            models.UniqueConstraint(
                fields=["reader"], condition=models.Q(due=None), name="one_endless_loan"
            ),
        ]
        unique_together: ClassVar = [("shelf", "place")]


class Tag(models.Model):
    """A word on books: unique or NULL, case matters; and a column with another name."""

    word = EncryptedTextField(null=True, unique=True, searchable=True)
    colour = EncryptedCharField(max_length=20, searchable=True, db_column="hue")
    is_old = models.BooleanField(default=False)
    loans = models.ManyToManyField(Loan, related_name="tags")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["colour"],
                condition=models.Q(is_old=False),
                name="one_new_tag_of_a_colour",
                violation_error_message="There is a new tag of this colour.",
            )
        ]


class Everything(models.Model):
    """One field of each type, nullable, searchable where that is possible."""

    char = EncryptedCharField(max_length=200, null=True, searchable=True)
    text = EncryptedTextField(null=True, searchable=True)
    email = EncryptedEmailField(null=True, searchable=True)
    integer = EncryptedIntegerField(null=True, searchable=True)
    decimal = EncryptedDecimalField(max_digits=20, decimal_places=4, null=True, searchable=True)
    date = EncryptedDateField(null=True, searchable=True)
    datetime = EncryptedDateTimeField(null=True, searchable=True)
    time = EncryptedTimeField(null=True, searchable=True)
    binary = EncryptedBinaryField(null=True, searchable=True)
    boolean = EncryptedBooleanField(null=True)
    json = EncryptedJSONField(null=True)


class Twin(models.Model):
    """The same types in plaintext."""

    char = models.CharField(max_length=200, null=True)
    text = models.TextField(null=True)
    email = models.EmailField(null=True)
    integer = models.BigIntegerField(null=True)
    decimal = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    date = models.DateField(null=True)
    datetime = models.DateTimeField(null=True)
    time = models.TimeField(null=True)
    binary = models.BinaryField(null=True)
    boolean = models.BooleanField(null=True)
    json = models.JSONField(null=True)


class Scan(models.Model):
    """A stored file, and a small picture of it."""

    file = models.FileField()
    file_name = EncryptedCharField(max_length=100)
    thumbnail = models.FileField(blank=True)
