"""`/livez` and `/readyz`, answered before host validation.

An AWS load balancer probes a target by its IP address, which `ALLOWED_HOSTS` must
not allow: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.health.readiness import readiness


class HealthMiddleware:
    """Answer the two probes; pass everything else on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/livez":
            return HttpResponse("ok", content_type="text/plain")
        if request.path == "/readyz":
            parts = readiness()
            ready = all(part["ok"] for part in parts.values())
            return JsonResponse({"ready": ready, **parts}, status=200 if ready else 503)
        return self.get_response(request)
