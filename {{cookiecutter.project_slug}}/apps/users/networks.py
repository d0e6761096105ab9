"""Where a request comes from, as far as attempts are counted."""

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.core.exceptions import BadRequest
from django.http import HttpRequest

from config.middleware import client_address


def network(request: HttpRequest) -> str:
    """Return the client's IPv4 address, or the /64 of its IPv6 address.

    Whoever has one address of a /64 has them all: https://www.rfc-editor.org/rfc/rfc6177
    Raises `BadRequest` unless the proxy has named exactly one address.
    """
    try:
        address = ip_address(client_address(request))
    except ValueError:
        raise BadRequest("The proxy must send one address in X-Forwarded-For.") from None
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address.packed, 64), strict=False))
