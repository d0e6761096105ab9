"""The one way to a client of an AWS service that the application itself asks.

Object storage is apart: django-storages makes its own client, from `STORAGES`.
"""

from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_ssm import SSMClient

# Parameter Store allows 40 requests a second per account and region by default;
# "adaptive" backs off with jitter when several tasks start at once.
_CONFIG = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "adaptive", "total_max_attempts": 6}
)


@overload
def aws_client(
    service: Literal["kms"], *, verify: str | None, endpoint_url: str | None
) -> "KMSClient": ...
@overload
def aws_client(
    service: Literal["ssm"], *, verify: str | None, endpoint_url: str | None
) -> "SSMClient": ...
@overload
def aws_client(
    service: Literal["rds", "secretsmanager"], *, verify: str | None, endpoint_url: str | None
) -> Any: ...
def aws_client(
    service: Literal["kms", "rds", "secretsmanager", "ssm"],
    *,
    verify: str | None,
    endpoint_url: str | None,
) -> Any:
    """Return a client that verifies its server and does not wait for ever.

    With None, boto3 takes the CA bundle and the endpoint from the environment
    (`AWS_CA_BUNDLE`, `AWS_ENDPOINT_URL`); the arguments are for the probes, which
    must see a wrong CA and a wrong name refused. Raises `ImproperlyConfigured` for an
    endpoint without TLS: settings ask for secrets before any system check runs.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    client = boto3.client(service, config=_CONFIG, verify=verify, endpoint_url=endpoint_url)
    if not client.meta.endpoint_url.startswith("https://"):
        raise ImproperlyConfigured(
            f"The {service} endpoint {client.meta.endpoint_url} is not https. Set "
            f"AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_{service.upper()}) to an https:// "
            "address, or leave it unset on AWS."
        )
    return client
