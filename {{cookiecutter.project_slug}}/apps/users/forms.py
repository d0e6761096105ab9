"""Django's own forms, for a user whose name is an e-mail address."""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.forms import (
    AdminUserCreationForm,
    AuthenticationForm,
    BaseUserCreationForm,
    PasswordChangeForm,
    UserChangeForm,
)
from django.http import HttpRequest

from apps.users.models import User


class LoginForm(AuthenticationForm):
    """Ask for e-mail address and password; one message for every way to be wrong."""

    error_messages = AuthenticationForm.error_messages | {
        "invalid_login": "The e-mail address or the password is wrong.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.input_type = "email"


class SignUpForm(BaseUserCreationForm[User]):
    """Make an account."""

    class Meta:
        model = User
        fields = ("email",)
        widgets: ClassVar = {"email": forms.EmailInput(attrs={"autocomplete": "username"})}


class OwnPasswordForm(PasswordChangeForm):
    """Change one's own password. The old one is asked for under the limits of a log-in."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        """Return the old password. Raises `ValidationError`, or as `throttle.count` does."""
        password: str = self.cleaned_data["old_password"]
        if not authenticate(self.request, username=self.user.get_username(), password=password):
            message = self.error_messages["password_incorrect"]
            raise forms.ValidationError(message, code="password_incorrect")
        return password


class UserAddForm(AdminUserCreationForm[User]):
    """The admin's form for a new user."""

    class Meta:
        model = User
        fields = ("email",)


class UserEditForm(UserChangeForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """The admin's form for an existing user."""

    class Meta:
        model = User
        fields = "__all__"
