"""KMS and Parameter Store in memory, behind real clients: botocore checks every request."""

import base64
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import EndpointConnectionError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.secrets.parameter_store import ParameterStore

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

Answer = tuple[int, dict[str, Any]]


def failure(code: str, message: str = "AWS says why.") -> Answer:
    """What a service answers that refuses."""
    return 400, {"Error": {"Code": code, "Message": message}}


def unreachable(**_: Any) -> Answer:
    """Stands for an operation of a service that is away."""
    raise EndpointConnectionError(endpoint_url="https://kms.invalid")


class KMS:
    """One KMS key. As AWS does, it authenticates the encryption context with what it wraps.

    https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
    """

    def __init__(self, alias: str) -> None:
        self._key = AESGCM(os.urandom(32))
        self._alias = alias
        self.made: list[bytes] = []
        self.client: KMSClient = boto3.client(
            "kms", region_name="eu-central-1", aws_access_key_id="t", aws_secret_access_key="t"
        )
        answer: Any = self._answer
        self.client.meta.events.register("before-call.kms", answer)

    def _answer(
        self, model: Any, params: dict[str, Any], **_: Any
    ) -> tuple[AWSResponse, dict[str, Any]]:
        operation: Callable[..., Answer] = getattr(self, model.name)
        status, answer = operation(**json.loads(params["body"]))
        return AWSResponse("https://kms.invalid", status, HTTPHeaders(), None), answer

    def GenerateDataKey(  # noqa: N802
        self,
        KeyId: str,  # noqa: N803
        KeySpec: str,  # noqa: N803
        EncryptionContext: dict[str, str],  # noqa: N803
    ) -> Answer:
        assert (KeyId, KeySpec) == (self._alias, "AES_256")
        self.made.append(os.urandom(32))
        nonce = os.urandom(12)
        blob = nonce + self._key.encrypt(nonce, self.made[-1], _bytes(EncryptionContext))
        return 200, {"Plaintext": self.made[-1], "CiphertextBlob": blob}

    def Decrypt(  # noqa: N802
        self,
        CiphertextBlob: str,  # noqa: N803
        EncryptionContext: dict[str, str],  # noqa: N803
        KeyId: str,  # noqa: N803
    ) -> Answer:
        assert KeyId == self._alias
        blob = base64.b64decode(CiphertextBlob)
        try:
            plaintext = self._key.decrypt(blob[:12], blob[12:], _bytes(EncryptionContext))
        except (InvalidTag, ValueError):
            return failure("InvalidCiphertextException", "")
        return 200, {"Plaintext": plaintext}


def _bytes(context: dict[str, str]) -> bytes:
    return json.dumps(context, sort_keys=True).encode()


class KeyParameters(ParameterStore):
    """Parameter Store, with the operations that read keyrings."""

    def GetParameter(self, Name: str, WithDecryption: bool) -> Answer:  # noqa: N802, N803
        assert WithDecryption
        if Name not in self.values:
            return failure("ParameterNotFound")
        return 200, {"Parameter": {"Name": Name, "Value": self.values[Name]}}

    def GetParametersByPath(  # noqa: N802
        self,
        Path: str,  # noqa: N803
        WithDecryption: bool,  # noqa: N803
        NextToken: str = "0",  # noqa: N803
    ) -> Answer:
        """Answer with a page of one, as AWS may."""
        assert WithDecryption
        names = sorted(n for n in self.values if n.rpartition("/")[0] == Path)
        page = int(NextToken)
        found = [{"Name": n, "Value": self.values[n]} for n in names[page : page + 1]]
        more = {"NextToken": str(page + 1)} if page + 1 < len(names) else {}
        return 200, {"Parameters": found, **more}
