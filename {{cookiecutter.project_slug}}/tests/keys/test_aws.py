"""The key store on KMS and Parameter Store: what it sends, what it refuses, what it shows."""

import base64
import json
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber
from pytest_django import Settings

from apps.keys.aws import AWSKeyStore
from apps.keys.errors import DataKeyError, KeyStoreError, WrongKeyError
from apps.keys.keyring import DataKey, Purpose, open_key
from apps.keys.store import StoredKey, StoredRing
from tests.keys import amazon
from tests.keys.amazon import KMS, KeyParameters
from tests.keys.hidden import shows

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_ssm import SSMClient

ALIAS = "alias/shop-production"
PREFIX = "/shop/production/keys/"
SECRET, BLOB = bytes(range(32)), b"wrapped by KMS: " + bytes(range(64))
WRAPPED = base64.b64encode(BLOB).decode()
KEY = StoredKey(id=DataKey(SECRET).id.hex(), wrapped=WRAPPED, created="2026-01-01T00:00:00+00:00")
RING = StoredRing(active=KEY.id, keys=(KEY,))
DOCUMENT = RING.to_json()


@pytest.fixture(autouse=True)
def _names(settings: Settings) -> None:
    settings.PROJECT = type("Project", (), {"slug": "shop"})
    settings.ENVIRONMENT = "production"
    settings.SECRETS_PREFIX = "/shop/production/"
    settings.KMS_KEY = ALIAS


# What is sent ---------------------------------------------------------------------------------

CONTEXT = {"project": "shop", "environment": "production", "purpose": "fields"}


@pytest.fixture
def kms() -> Iterator[tuple["KMSClient", Stubber]]:
    client = boto3.client(
        "kms", region_name="eu-central-1", aws_access_key_id="t", aws_secret_access_key="t"
    )
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


@pytest.fixture
def ssm() -> Iterator[tuple["SSMClient", Stubber]]:
    client = boto3.client(
        "ssm", region_name="eu-central-1", aws_access_key_id="t", aws_secret_access_key="t"
    )
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def test_generate_names_the_key_and_the_context(kms: tuple["KMSClient", Stubber]) -> None:
    client, stub = kms
    stub.add_response(
        "generate_data_key",
        {"Plaintext": SECRET, "CiphertextBlob": BLOB},
        {"KeyId": ALIAS, "KeySpec": "AES_256", "EncryptionContext": CONTEXT},
    )
    assert AWSKeyStore(kms=client).generate(Purpose.FIELDS) == (SECRET, WRAPPED)


def test_unwrap_names_the_key_and_the_context(kms: tuple["KMSClient", Stubber]) -> None:
    client, stub = kms
    stub.add_response(
        "decrypt",
        {"Plaintext": SECRET},
        {"CiphertextBlob": BLOB, "KeyId": ALIAS, "EncryptionContext": CONTEXT},
    )
    assert AWSKeyStore(kms=client).unwrap(Purpose.FIELDS, WRAPPED) == SECRET


def test_read(ssm: tuple["SSMClient", Stubber]) -> None:
    client, stub = ssm
    asked = {"Name": f"{PREFIX}fields", "WithDecryption": True}
    stub.add_response("get_parameter", {"Parameter": {"Value": DOCUMENT}}, asked)
    assert AWSKeyStore(ssm=client).read(Purpose.FIELDS) == RING


def test_there_is_none(ssm: tuple["SSMClient", Stubber]) -> None:
    client, stub = ssm
    stub.add_client_error("get_parameter", "ParameterNotFound")
    assert AWSKeyStore(ssm=client).read(Purpose.FIELDS) is None


def put(name: str, value: str, *, overwrite: bool) -> dict[str, Any]:
    return {
        "Name": PREFIX + name,
        "Value": value,
        "Type": "SecureString",
        "KeyId": ALIAS,
        "Overwrite": overwrite,
    }


def test_write_replaces_a_secure_string(ssm: tuple["SSMClient", Stubber]) -> None:
    client, stub = ssm
    stub.add_response("put_parameter", {}, put("fields", DOCUMENT, overwrite=True))
    AWSKeyStore(ssm=client).write(Purpose.FIELDS, RING)


def test_create_never_replaces(ssm: tuple["SSMClient", Stubber]) -> None:
    client, stub = ssm
    stub.add_response("put_parameter", {}, put("fields", DOCUMENT, overwrite=False))
    stub.add_client_error(
        "put_parameter",
        "ParameterAlreadyExists",
        expected_params=put("fields", DOCUMENT, overwrite=False),
    )
    store = AWSKeyStore(ssm=client)
    assert store.create(Purpose.FIELDS, RING)
    assert not store.create(Purpose.FIELDS, RING)


def test_retire_keeps_the_key_in_a_place_of_its_own(ssm: tuple["SSMClient", Stubber]) -> None:
    client, stub = ssm
    name = f"fields/retired/{KEY.id}"
    stub.add_response("put_parameter", {}, put(name, DOCUMENT, overwrite=True))
    AWSKeyStore(ssm=client).retire(Purpose.FIELDS, KEY)


def test_retired_reads_every_page(ssm: tuple["SSMClient", Stubber]) -> None:
    client, stub = ssm
    other = StoredKey(id="0a0b0c0d", wrapped=WRAPPED, created="2025")
    asked = {"Path": f"{PREFIX}fields/retired", "WithDecryption": True}
    second = StoredRing(active=other.id, keys=(other,)).to_json()
    stub.add_response(
        "get_parameters_by_path", {"Parameters": [{"Value": DOCUMENT}], "NextToken": "2"}, asked
    )
    stub.add_response(
        "get_parameters_by_path",
        {"Parameters": [{"Value": second}]},
        {**asked, "NextToken": "2"},
    )
    assert AWSKeyStore(ssm=client).retired(Purpose.FIELDS) == {KEY.id: KEY, other.id: other}


# What is refused, with services that behave as AWS does --------------------------------------


class Services:
    """A store and the services behind it; it holds a keyring for `fields`."""

    def __init__(self) -> None:
        self.kms, self.ssm = KMS(ALIAS), KeyParameters()
        self.store = AWSKeyStore(ssm=self.ssm.client, kms=self.kms.client)
        self.secret, self.wrapped = self.store.generate(Purpose.FIELDS)
        key_id = DataKey(self.secret).id.hex()
        self.key = StoredKey(id=key_id, wrapped=self.wrapped, created="2026")
        self.ring = StoredRing(active=key_id, keys=(self.key,))
        self.store.write(Purpose.FIELDS, self.ring)


@pytest.fixture
def aws() -> Services:
    return Services()


def test_what_was_made_is_read_again(aws: Services) -> None:
    assert aws.store.read(Purpose.FIELDS) == aws.ring
    assert aws.store.unwrap(Purpose.FIELDS, aws.wrapped) == aws.secret
    aws.store.retire(Purpose.FIELDS, aws.key)
    assert aws.store.retired(Purpose.FIELDS) == {aws.key.id: aws.key}
    assert aws.store.read(Purpose.FIELDS) == aws.ring
    assert aws.store.retired(Purpose.FILES) == {}


def test_no_parameter_holds_a_key_that_is_not_wrapped(aws: Services) -> None:
    aws.store.retire(Purpose.FIELDS, aws.key)
    assert len(aws.kms.made) == 1
    assert shows(json.dumps(aws.ssm.values), aws.wrapped)  # or nothing would be found
    assert not shows(json.dumps(aws.ssm.values), *aws.kms.made)


def another_purpose(_settings: Settings) -> Purpose:
    return Purpose.FILES


def another_environment(settings: Settings) -> Purpose:
    settings.ENVIRONMENT = "staging"
    return Purpose.FIELDS


def another_project(settings: Settings) -> Purpose:
    settings.PROJECT = type("Project", (), {"slug": "bank"})
    return Purpose.FIELDS


@pytest.mark.parametrize("use", [another_purpose, another_environment, another_project])
def test_a_wrapped_key_is_of_no_use_elsewhere(
    use: Callable[[Settings], Purpose], aws: Services, settings: Settings
) -> None:
    purpose = use(settings)
    with pytest.raises(KeyStoreError, match="InvalidCiphertext") as caught:
        aws.store.unwrap(purpose, aws.wrapped)
    assert_hidden(caught.value, aws)


def test_an_altered_wrapped_key_is_refused(aws: Services) -> None:
    altered = bytearray(base64.b64decode(aws.wrapped))
    altered[-1] ^= 1
    with pytest.raises(KeyStoreError, match="InvalidCiphertext"):
        aws.store.unwrap(Purpose.FIELDS, base64.b64encode(altered).decode())


def test_a_key_of_the_same_purpose_under_another_name_is_refused(
    aws: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.keys.keyring.key_store", lambda: aws.store)
    _secret, wrapped = aws.store.generate(Purpose.FIELDS)
    with pytest.raises(WrongKeyError, match=aws.key.id) as caught:
        open_key(Purpose.FIELDS, StoredKey(id=aws.key.id, wrapped=wrapped, created="2026"))
    assert_hidden(caught.value, aws)


# What fails, and what is said about it ----------------------------------------------------------

READ, UNWRAP, GENERATE, WRITE = "GetParameter", "Decrypt", "GenerateDataKey", "PutParameter"
PATH = "GetParametersByPath"
ASK: dict[str, Callable[[Services], object]] = {
    READ: lambda aws: aws.store.read(Purpose.FIELDS),
    PATH: lambda aws: aws.store.retired(Purpose.FIELDS),
    WRITE: lambda aws: aws.store.write(Purpose.FIELDS, aws.ring),
    UNWRAP: lambda aws: aws.store.unwrap(Purpose.FIELDS, aws.wrapped),
    GENERATE: lambda aws: aws.store.generate(Purpose.FIELDS),
}


def assert_hidden(error: DataKeyError, aws: Services) -> None:
    """No key, plain or wrapped, in the error, in what caused it, or in the traceback."""
    texts = ["".join(traceback.format_exception(error))]
    reason: BaseException | None = error
    while reason:
        texts += [str(reason), repr(reason), repr(getattr(reason, "response", ""))]
        reason = reason.__cause__ or reason.__context__
    for text in texts:
        assert not shows(text, *aws.kms.made, aws.wrapped, base64.b64decode(aws.wrapped))


@pytest.mark.parametrize("operation", ASK)
@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ThrottlingException", "DisabledException"]
)
def test_a_refusal_names_cause_and_fix(code: str, operation: str, aws: Services) -> None:
    service = aws.kms if hasattr(aws.kms, operation) else aws.ssm
    setattr(service, operation, lambda **_: amazon.failure(code))
    with pytest.raises(KeyStoreError) as caught:
        ASK[operation](aws)
    assert_explained(str(caught.value), operation)
    assert code in str(caught.value)
    assert "AWS says why." in str(caught.value)
    assert_hidden(caught.value, aws)


@pytest.mark.parametrize("operation", ASK)
def test_a_service_that_is_away_is_named(operation: str, aws: Services) -> None:
    service = aws.kms if hasattr(aws.kms, operation) else aws.ssm
    setattr(service, operation, amazon.unreachable)
    with pytest.raises(KeyStoreError, match=r"https://kms\.invalid") as caught:
        ASK[operation](aws)
    assert_explained(str(caught.value), operation)
    assert_hidden(caught.value, aws)


def assert_explained(message: str, operation: str) -> None:
    service = "kms" if operation in {UNWRAP, GENERATE} else "ssm"
    assert f"{service}:{operation}" in message
    assert "Check that" in message
    place = "fields key" if service == "kms" else f"{PREFIX}fields"
    assert place in message


def without_active(ring: dict[str, Any]) -> None:
    ring["active"] = "0a0b0c0d"


def with_another_field(ring: dict[str, Any]) -> None:
    ring["keys"][0]["more"] = ring["keys"][0]["wrapped"]


def without_wrapped(ring: dict[str, Any]) -> None:
    del ring["keys"][0]["wrapped"]


def without_keys(ring: dict[str, Any]) -> None:
    del ring["keys"]


def with_a_slot_that_is_none(ring: dict[str, Any]) -> None:
    ring["keys"][0]["slot"] = 2


def with_a_slot_as_text(ring: dict[str, Any]) -> None:
    ring["keys"][0]["slot"] = "0"


def with_keys_that_are_none(ring: dict[str, Any]) -> None:
    ring["keys"] = [ring["keys"][0]["wrapped"]]


@pytest.mark.parametrize(
    "damage",
    [
        without_active,
        with_another_field,
        without_wrapped,
        without_keys,
        with_a_slot_that_is_none,
        with_a_slot_as_text,
        with_keys_that_are_none,
    ],
)
def test_a_damaged_keyring_is_refused(
    damage: Callable[[dict[str, Any]], None], aws: Services
) -> None:
    document = json.loads(aws.ssm.values[f"{PREFIX}fields"])
    damage(document)
    assert_damaged(json.dumps(document), aws)


def test_a_keyring_that_is_cut_off_or_of_another_kind_is_refused(aws: Services) -> None:
    whole = aws.ssm.values[f"{PREFIX}fields"]
    for text in (*(whole[:size] for size in range(0, len(whole), 7)), "[]", "null", '"text"', "1"):
        assert_damaged(text, aws)


def assert_damaged(text: str, aws: Services) -> None:
    aws.ssm.values[f"{PREFIX}fields"] = text
    with pytest.raises(KeyStoreError, match=r"keyring is damaged.*get-parameter-history") as caught:
        aws.store.read(Purpose.FIELDS)
    assert_hidden(caught.value, aws)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_wrapped_key_that_is_no_base64_is_refused(cut: int, aws: Services) -> None:
    with pytest.raises(KeyStoreError, match=r"is damaged\. Restore /shop/production/") as caught:
        aws.store.unwrap(Purpose.FIELDS, aws.wrapped[:-cut] + "!")
    assert_hidden(caught.value, aws)
    with pytest.raises(KeyStoreError, match="is damaged"):
        aws.store.unwrap(Purpose.FIELDS, 5)  # type: ignore[arg-type]  # as JSON may have it
