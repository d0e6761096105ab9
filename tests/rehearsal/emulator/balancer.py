"""Application load balancers: health checks, and HTTPS to the targets, which the emulator lacks.

As on AWS a target's certificate is not validated:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
"""

import asyncio
import http.client
import random
import ssl
import threading
import time
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import acm, alb, ecs
from places import ACCOUNT, Places

type Answer = tuple[int, dict[str, Any], bytes]

CHECK_EVERY = 2
_states: dict[tuple[str, str], bool] = {}


def install(places: Places) -> None:
    """Replace functions of the emulator's, and check targets' health from now on."""
    alb._forward_to_tg = _forward
    alb._describe_target_health = _describe_health
    threading.Thread(target=_check_all, args=(places.region,), daemon=True).start()


def healthy(service_key: str, address: str | None) -> bool:
    """Is the address a healthy target in each target group of the service?"""
    groups = [
        each["targetGroupArn"] for each in ecs._services[service_key].get("loadBalancers", [])
    ]
    return all(_states.get((group, str(address))) for group in groups)


def forget(address: str) -> None:
    """Ask a new task at an address, which another may have had before."""
    for key in [key for key in _states if key[1] == address]:
        del _states[key]


def balancer_of(host: str) -> dict[str, Any] | None:
    """Return the load balancer that has the host's certificate: DNS leads there on AWS."""
    for listener in alb._listeners.values():
        for arn in listener.get("Certificates", []):
            certificate = acm._certificates.get(arn)
            if certificate and certificate["DomainName"] == host:
                return next(
                    (
                        found
                        for found in alb._lbs.values()
                        if found["LoadBalancerArn"] == listener["LoadBalancerArn"]
                    ),
                    None,
                )
    return None


def _connection(group: dict[str, Any], target: dict[str, Any], timeout: float) -> Any:
    host, port = target["Id"], int(target.get("Port") or group["Port"])
    if group.get("Protocol") != "HTTPS":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


def _check_all(region: str) -> None:
    while True:
        with request_scope(ACCOUNT, region):
            for arn, group in list(alb._tgs.items()):
                for target in list(alb._targets.get(arn, [])):
                    _states[arn, target["Id"]] = _answers(group, target)
        time.sleep(CHECK_EVERY)


def _answers(group: dict[str, Any], target: dict[str, Any]) -> bool:
    connection = _connection(group, target, 3)
    try:
        connection.request("GET", group.get("HealthCheckPath", "/"))  # the Host is its address
        return bool(connection.getresponse().status == 200)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _describe_health(params: dict[str, str]) -> Any:
    arn = alb._p(params, "TargetGroupArn")
    if arn not in alb._tgs:
        return alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    members = "".join(
        f"<member><Target><Id>{target['Id']}</Id><Port>{target['Port']}</Port></Target>"
        f"<TargetHealth><State>{'healthy' if _states.get((arn, target['Id'])) else 'unhealthy'}"
        "</State></TargetHealth></member>"
        for target in alb._targets.get(arn, [])
    )
    return alb._xml(
        200,
        "DescribeTargetHealth",
        f"<TargetHealthDescriptions>{members}</TargetHealthDescriptions>",
    )


async def _forward(
    arn: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    _params: Any,
    raw_query_string: str = "",
    raw_path: str | None = None,
) -> Answer:
    targets = [each for each in alb._targets.get(arn, []) if _states.get((arn, each["Id"]))]
    if not targets:
        return 503, {"Content-Type": "text/plain"}, b"no healthy target"
    target = (raw_path or path) + (f"?{raw_query_string}" if raw_query_string else "")
    group, chosen = alb._tgs[arn], random.choice(targets)  # noqa: S311
    return await asyncio.to_thread(_ask, group, chosen, method, target, headers, body)


def _ask(
    group: dict[str, Any],
    target: dict[str, Any],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
) -> Answer:
    dropped = {"content-length", "connection", "transfer-encoding"}
    sent = {name: value for name, value in headers.items() if name.lower() not in dropped}
    connection = _connection(group, target, 60)
    try:
        connection.request(method, path, body or None, sent)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return 502, {"Content-Type": "text/plain"}, type(error).__name__.encode()
    finally:
        connection.close()
    received: dict[str, Any] = {}
    for name, value in response.getheaders():
        if name.lower() not in dropped:
            received.setdefault(name.lower(), []).append(value)
    return response.status, {n: v[0] if len(v) == 1 else v for n, v in received.items()}, content
