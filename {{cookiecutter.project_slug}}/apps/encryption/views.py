from django.conf import settings
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.encryption import hops, probes


@require_safe
@staff_member_required(login_url="login")
def status(request: HttpRequest) -> HttpResponse:
    """Probe now and show what `verify_encryption` shows; staff only."""
    results = list(probes.run(hops.load(), settings.ROLE))
    return render(
        request,
        "encryption/status.html",
        {"results": results, "ok": bool(results) and all(result.ok for result in results)},
    )
