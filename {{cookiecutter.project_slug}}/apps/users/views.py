"""Sign up. Log in, log out and password change are Django's own views."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.users import throttle
from apps.users.forms import OwnPasswordForm, SignUpForm
from apps.users.models import User
from apps.users.networks import network


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    """Make an account and log in with it.

    What fails is limited, because it tells who has an account.
    """
    if request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    counters = [throttle.counter("sign_up", network(request))]
    if request.method == "POST":
        throttle.count(counters)
    form = SignUpForm(request.POST or None)
    if form.is_valid():
        try:
            with transaction.atomic():
                user = form.save()
        except IntegrityError:
            # The form was sent twice at once: both found the address free.
            form.add_error("email", User._meta.get_field("email").error_messages["unique"])
        else:
            throttle.take_back(counters)
            login(request, user)
            messages.success(request, "Welcome. Your account is ready.")
            return redirect(settings.LOGIN_REDIRECT_URL)
    return render(request, "users/signup.html", {"form": form})


class PasswordChange(PasswordChangeView):
    """Change the password, stay logged in here, and be logged out elsewhere."""

    form_class = OwnPasswordForm
    template_name = "users/password_change.html"
    success_url = reverse_lazy("home")

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        messages.success(self.request, "Your password is changed.")
        return super().form_valid(form)
