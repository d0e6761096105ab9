"""Data keys wrapped by KMS, in Systems Manager Parameter Store.

One SecureString per purpose holds the keyring as JSON:

    /shop/production/keys/fields              the keyring
    /shop/production/keys/fields/retired/1a2b3c4d    a key that was taken out of it

KMS wraps and unwraps under an encryption context that names project, environment and
purpose, so a wrapped key is of no use anywhere else:
https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from apps.keys.errors import KeyStoreError
from apps.keys.kms import kms_client
from apps.keys.store import StoredKey, StoredRing
from apps.secrets.ssm import parameters_by_path, put_secret, ssm_client

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_ssm import SSMClient


@contextmanager
def _asking(what: str, allowed: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise KeyStoreError(
            f"{what}: {error} Check that the service is reachable, that its certificate "
            f"verifies (AWS_CA_BUNDLE) and that this role may call {allowed}."
        ) from error


class AWSKeyStore:
    """A `KeyStore` on KMS and Parameter Store."""

    def __init__(self, *, ssm: "SSMClient | None" = None, kms: "KMSClient | None" = None) -> None:
        self._prefix = f"{settings.SECRETS_PREFIX}keys/"
        self._given_ssm, self._given_kms = ssm, kms

    @cached_property
    def _ssm(self) -> "SSMClient":
        return self._given_ssm or ssm_client()

    @cached_property
    def _kms(self) -> "KMSClient":
        return self._given_kms or kms_client()

    def _context(self, purpose: str) -> dict[str, str]:
        return {
            "project": settings.PROJECT.slug,
            "environment": settings.ENVIRONMENT,
            "purpose": purpose,
        }

    def read(self, purpose: str) -> StoredRing | None:
        name = self._prefix + purpose
        with _asking(f"The keyring {name} could not be read", "ssm:GetParameter on it"):
            try:
                parameter = self._ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
            except self._ssm.exceptions.ParameterNotFound:
                return None
        return StoredRing.from_json(parameter["Value"])

    def create(self, purpose: str, ring: StoredRing) -> bool:
        return self._put(self._prefix + purpose, ring.to_json(), overwrite=False)

    def write(self, purpose: str, ring: StoredRing) -> None:
        self._put(self._prefix + purpose, ring.to_json())

    def unwrap(self, purpose: str, wrapped: str) -> bytes:
        try:
            blob = base64.b64decode(wrapped, validate=True)
        except (ValueError, TypeError):
            raise KeyStoreError(
                f"A wrapped {purpose} key is damaged. Restore {self._prefix}{purpose}."
            ) from None
        with _asking(f"The {purpose} key could not be unwrapped", "kms:Decrypt on the key"):
            return self._kms.decrypt(
                CiphertextBlob=blob,
                EncryptionContext=self._context(purpose),
                KeyId=settings.KMS_KEY,
            )["Plaintext"]

    def generate(self, purpose: str) -> tuple[bytes, str]:
        with _asking(f"No {purpose} key could be made", "kms:GenerateDataKey on the key"):
            made = self._kms.generate_data_key(
                KeyId=settings.KMS_KEY,
                KeySpec="AES_256",
                EncryptionContext=self._context(purpose),
            )
        return made["Plaintext"], base64.b64encode(made["CiphertextBlob"]).decode()

    def retired(self, purpose: str) -> dict[str, StoredKey]:
        path = f"{self._prefix}{purpose}/retired"
        with _asking(f"The retired keys below {path} could not be read", "ssm:GetParametersByPath"):
            found = list(parameters_by_path(self._ssm, Path=path, WithDecryption=True))
        rings = [StoredRing.from_json(parameter["Value"]) for parameter in found]
        return {key.id: key for ring in rings for key in ring.keys}

    def retire(self, purpose: str, key: StoredKey) -> None:
        document = StoredRing(active=key.id, keys=(key,)).to_json()
        self._put(f"{self._prefix}{purpose}/retired/{key.id}", document)

    def _put(self, name: str, value: str, *, overwrite: bool = True) -> bool:
        with _asking(f"The parameter {name} could not be written", "ssm:PutParameter on it"):
            try:
                put_secret(self._ssm, name, value, overwrite=overwrite)
            except self._ssm.exceptions.ParameterAlreadyExists:
                return False
        return True
