from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.encryption import hops, probes


@require_safe
@login_required
def status(request: HttpRequest) -> HttpResponse:
    """Probe now and show what `verify_encryption` shows; staff only."""
    if not request.user.is_staff:
        raise PermissionDenied
    results = list(probes.run(hops.load(), settings.ROLE))
    return render(
        request,
        "encryption/status.html",
        {"results": results, "ok": bool(results) and all(result.ok for result in results)},
    )
