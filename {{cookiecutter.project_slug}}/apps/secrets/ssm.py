"""Secrets from AWS Systems Manager Parameter Store, read once per process.

On ECS the task definition may inject a secret as an environment variable; what it
did not inject is read here from one prefix, for example `/shop/production/`.
Local development reads the same path from the local stand-in for AWS. That shows
everything to everybody, so what is not for all gets to its process in a file there.

Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from apps.secrets.aws import aws_client

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_ssm.type_defs import ParameterTypeDef


def ssm_client(*, verify: str | None = None, endpoint_url: str | None = None) -> "SSMClient":
    """The one way to a Parameter Store client; arguments and errors as of `aws_client`."""
    return aws_client("ssm", verify=verify, endpoint_url=endpoint_url)


def parameters_by_path(client: "SSMClient", **query: Any) -> Iterator["ParameterTypeDef"]:
    """Yield what GetParametersByPath finds, page after page.

    Raises `BotoCoreError` or `ClientError`.
    """
    for page in client.get_paginator("get_parameters_by_path").paginate(**query):
        yield from page["Parameters"]


def put_secret(client: "SSMClient", name: str, value: str, *, overwrite: bool = True) -> None:
    """Write a SecureString under the project's key. Raises `BotoCoreError` or `ClientError`."""
    client.put_parameter(
        Name=name,
        Value=value,
        Type="SecureString",
        KeyId=settings.KMS_KEY,  # otherwise it would come under the account's default key
        Overwrite=overwrite,
    )


class Secrets(Mapping[str, str]):
    """Read-only mapping of secret name to value whose `repr` shows names only."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Secrets {sorted(self._values)}>"


class SSMSecretsRetriever:
    """Reads all parameters below one prefix, decrypted.

    `prefix` starts and ends with a slash, so that `/shop/prod/` cannot match
    `/shop/prod-old/`. Raises `ValueError` otherwise.
    """

    def __init__(self, prefix: str, client: "SSMClient | None" = None) -> None:
        if not (prefix.startswith("/") and prefix.endswith("/") and prefix.strip("/")):
            raise ValueError(f"The prefix {prefix!r} must look like '/project/environment/'.")
        self.prefix = prefix
        self._client = client

    def fetch(self) -> dict[str, str]:
        """Return name (without the prefix) to decrypted value.

        Raises `ImproperlyConfigured`, naming cause and fix, when the store cannot
        be reached or refuses; the message never holds a value.
        """
        try:
            client = self._client or ssm_client()
            found = parameters_by_path(
                client, Path=self.prefix, Recursive=False, WithDecryption=True
            )
            return {item["Name"].removeprefix(self.prefix): item["Value"] for item in found}
        except (BotoCoreError, ClientError) as error:
            raise ImproperlyConfigured(
                f"Secrets below {self.prefix} could not be read: {error} "
                "Check that the store is reachable, that its certificate verifies "
                "(AWS_CA_BUNDLE) and that the role may call ssm:GetParametersByPath "
                "on this prefix and kms:Decrypt on its key."
            ) from error


def given(name: str, environ: Mapping[str, str]) -> str:
    """Return a secret that `environ` has, or the file that `NAME_FILE` in it names; else "".

    Raises `ImproperlyConfigured` if that file cannot be read.
    """
    file = environ.get(f"{name}_FILE")
    if not file:
        return environ.get(name, "")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name}_FILE cannot be read: {error} Locally: make certs, then make up."
        ) from error


def load_secrets(
    names: Iterable[str],
    environ: Mapping[str, str],
    retriever: SSMSecretsRetriever,
    *,
    optional: Iterable[str] = (),
) -> Secrets:
    """Return every secret in `names`, as `given`, or else from the store.

    Those in `optional` may be in neither place. The store is asked only if something
    was not given. Raises `ImproperlyConfigured` that lists the names found in neither
    place, and what `given` raises.
    """
    required = set(names)
    wanted = required.union(optional)
    values = {name: value for name in wanted if (value := given(name, environ))}
    if missing := wanted - values.keys():
        stored = retriever.fetch()
        values |= {name: stored[name] for name in missing if stored.get(name)}
    if missing := required - values.keys():
        raise ImproperlyConfigured(
            f"Missing secrets: {', '.join(sorted(missing))}. Put each into the parameter store "
            f"as a SecureString named {retriever.prefix}NAME, or inject it as an "
            "environment variable of the task."
        )
    return Secrets(values)
