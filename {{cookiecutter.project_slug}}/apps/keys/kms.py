"""The client of AWS KMS, which wraps and unwraps the data keys.

https://docs.aws.amazon.com/kms/latest/APIReference/Welcome.html
"""

from typing import TYPE_CHECKING

from apps.secrets.aws import aws_client

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


def kms_client(*, verify: str | None = None, endpoint_url: str | None = None) -> "KMSClient":
    """The one way to a KMS client; arguments and errors as of `aws_client`."""
    return aws_client("kms", verify=verify, endpoint_url=endpoint_url)
