"""The user: an account that is named by its e-mail address."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from apps.fields import EncryptedEmailField


class UserManager(BaseUserManager["User"]):
    """Make users, and find them by any spelling of their e-mail address."""

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the form that is stored and looked up: trimmed, in lower case."""
        return (email or "").strip().lower()

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user with this e-mail address. Logging in asks this."""
        return self.get(email=self.normalize_email(username))

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Make and return a user; without a password nobody can log in as them."""
        if not self.normalize_email(email):
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email, **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Make and return a user who may do everything."""
        return self.create_user(email, password, **extra, is_staff=True, is_superuser=True)


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who can log in."""

    email = EncryptedEmailField(
        "e-mail address",
        unique=True,
        searchable=True,
        error_messages={"unique": "There is already an account with this e-mail address."},
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="Untick this instead of deleting an account."
    )
    is_staff = models.BooleanField(
        "staff", default=False, help_text="May open the admin and the encryption status."
    )
    date_joined = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def get_session_auth_hash(self) -> str:
        """Return what a session keeps of the password, so that it ends when that changes.

        Django keys this with SECRET_KEY, and a process that finds the hash of a fallback
        replaces the session: a browser's other requests under way are logged out. The
        session as a whole is signed with SECRET_KEY, so here the hash needs no key.
        """
        return salted_hmac(
            "apps.users.models.User.get_session_auth_hash",
            self.password,
            secret="",
            algorithm="sha256",
        ).hexdigest()

    def __str__(self) -> str:
        # Not the e-mail address: the admin's history and logs would store it in plaintext.
        return f"User {self.pk}"

    def clean(self) -> None:
        """Normalise the e-mail address before a form looks whether it is taken."""
        self.email = UserManager.normalize_email(self.email)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the e-mail address normalised, whoever made the user."""
        self.email = UserManager.normalize_email(self.email)
        super().save(*args, **kwargs)
