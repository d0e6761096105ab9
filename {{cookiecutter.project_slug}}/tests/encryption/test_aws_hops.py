"""Application to secret store and to key management, through the project's own clients.

The secret store is asked through the loader that `config.settings` calls, key management
through the client that unwraps the data keys.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError
from django.core.exceptions import ImproperlyConfigured

from apps.keys.kms import kms_client
from apps.secrets.ssm import SSMSecretsRetriever
from config.project import BASE_DIR
from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure
from tests.encryption.servers import OLD, HTTPServer, tls


def secrets() -> None:
    """Read secrets."""
    SSMSecretsRetriever("/shop/production/").fetch()


def keys() -> None:
    """Have a key unwrapped."""
    kms_client().decrypt(CiphertextBlob=b"wrapped", KeyId="alias/shop-production")


ASK = {"secrets": secrets, "keys": keys}
OPERATIONS = {"secrets": b"AmazonSSM.GetParametersByPath", "keys": b"TrentService.Decrypt"}

type Function = Callable[..., None]


def of_both(kind: str) -> Callable[[Function], Function]:
    """Run a test for both hops, and mark it as a proof of this kind for both."""

    def marked(test: Function) -> Function:
        for hop in ASK:
            test = pytest.mark.proves(hop, kind)(test)
        return pytest.mark.parametrize("hop", ASK)(test)

    return marked


@of_both("positive")
def test_a_good_server_is_accepted(hop: str, configure: Configure, authority: Authority) -> None:
    with HTTPServer(tls(authority.of("aws"))) as server:
        configure(AWS_ENDPOINT_URL=f"https://localhost:{server.port}")
        ASK[hop]()
    assert OPERATIONS[hop] in server.received[0]
    assert server.raw == b""


def refused(hop: str, server: HTTPServer, configure: Configure, host: str = "localhost") -> str:
    """Why the client refuses; it must not have told the server anything."""
    with server:
        configure(AWS_ENDPOINT_URL=f"https://{host}:{server.port}")
        with pytest.raises((ImproperlyConfigured, BotoCoreError)) as caught:
            ASK[hop]()
    assert server.received == []
    return str(caught.value)


@of_both("negative")
def test_another_ca_is_refused(hop: str, configure: Configure, stranger: Authority) -> None:
    reason = refused(hop, HTTPServer(tls(stranger.of("aws"))), configure)
    assert "certificate verify failed" in reason


@of_both("negative")
def test_another_name_is_refused(hop: str, configure: Configure, authority: Authority) -> None:
    reason = refused(hop, HTTPServer(tls(authority.of("aws"))), configure, host="127.0.0.1")
    assert "hostname '127.0.0.1' doesn't match" in reason


@of_both("negative")
def test_an_expired_certificate_is_refused(hop: str, configure: Configure, expired: Path) -> None:
    assert "certificate has expired" in refused(hop, HTTPServer(tls(expired)), configure)


@of_both("negative")
def test_plaintext_in_its_place_is_refused(hop: str, configure: Configure) -> None:
    refused(hop, HTTPServer(None), configure)


@of_both("negative")
def test_tls_1_1_is_refused(hop: str, configure: Configure, authority: Authority) -> None:
    old = tls(authority.of("aws"), oldest=OLD, newest=OLD)
    assert "version" in refused(hop, HTTPServer(old), configure).lower()


ENDPOINTS = {"secrets": "AWS_ENDPOINT_URL_SSM", "keys": "AWS_ENDPOINT_URL_KMS"}


@of_both("negative")
@pytest.mark.parametrize("own", [False, True])
def test_an_endpoint_without_tls_is_never_asked(
    hop: str, own: bool, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one for all services of AWS, nor the service's own."""
    with HTTPServer(None) as server:
        configure()
        variable = ENDPOINTS[hop] if own else "AWS_ENDPOINT_URL"
        monkeypatch.setenv(variable, f"http://localhost:{server.port}")
        with pytest.raises(ImproperlyConfigured, match="is not https") as caught:
            ASK[hop]()
    assert ENDPOINTS[hop] in str(caught.value)
    assert server.received == []


def test_no_other_module_makes_a_client_of_aws() -> None:
    """A client that goes past the factory is one that no probe sees."""
    importing = {
        path.relative_to(BASE_DIR).as_posix()
        for folder in ("apps", "config")
        for path in (BASE_DIR / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) (boto3|botocore\.session)\b", path.read_text(), re.M)
    }
    assert importing == {"apps/secrets/aws.py"}
