"""The secret loader: where values come from, and that they go nowhere else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from django.core.exceptions import ImproperlyConfigured

from apps.secrets import ssm
from apps.secrets.ssm import Secrets, SSMSecretsRetriever, load_secrets

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

PREFIX = "/shop/production/"
VALUE = "a-value-that-must-not-be-shown"


class Never(SSMSecretsRetriever):
    """A store that must not be asked."""

    def fetch(self) -> dict[str, str]:
        pytest.fail("the store was asked")


class Stored(SSMSecretsRetriever):
    """A store that needs no AWS."""

    def __init__(self, **values: str) -> None:
        super().__init__(PREFIX)
        self.values = values
        self.asked = 0

    def fetch(self) -> dict[str, str]:
        self.asked += 1
        return self.values


# Which value wins --------------------------------------------------------------------


def test_injected_secrets_need_no_store() -> None:
    injected = {"ONE": "1", "TWO": "2", "OTHER": "3"}
    assert dict(load_secrets(["ONE", "TWO"], injected, Never(PREFIX))) == {"ONE": "1", "TWO": "2"}


def test_the_environment_wins_and_the_store_fills_in() -> None:
    store = Stored(ONE="stored", TWO="stored", OTHER="stored")
    loaded = load_secrets(["ONE", "TWO"], {"ONE": "injected"}, store)
    assert dict(loaded) == {"ONE": "injected", "TWO": "stored"}
    assert store.asked == 1


def test_a_file_may_have_it(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("in a file\n")
    environ = {"ONE": "injected", "ONE_FILE": str(tmp_path / "one")}
    assert dict(load_secrets(["ONE"], environ, Never(PREFIX))) == {"ONE": "in a file"}


def test_a_file_that_is_missing_stops_the_start() -> None:
    """It must not be another value then, from somewhere else."""
    environ = {"ONE": "injected", "ONE_FILE": "/nowhere/one"}
    with pytest.raises(ImproperlyConfigured, match="ONE_FILE cannot be read"):
        load_secrets(["ONE"], environ, Stored(ONE="stored"))


def test_an_empty_variable_is_no_secret() -> None:
    assert load_secrets(["ONE"], {"ONE": ""}, Stored(ONE="stored"))["ONE"] == "stored"


def test_any_iterable_names_the_secrets() -> None:
    loaded = load_secrets((name for name in ("ONE", "TWO")), {"ONE": "1"}, Stored(TWO="2"))
    assert sorted(loaded) == ["ONE", "TWO"]


def test_what_is_nowhere_is_listed_without_values() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load_secrets(["D", "C", "B", "A"], {"A": VALUE}, Stored(B=VALUE, D=""))
    message = str(caught.value)
    assert message.startswith("Missing secrets: C, D. ")
    assert f"{PREFIX}NAME" in message
    assert VALUE not in message


def test_an_optional_secret_may_be_nowhere() -> None:
    store = Stored(ONE="stored")
    assert dict(load_secrets(["ONE"], {}, store, optional=["TWO"])) == {"ONE": "stored"}
    assert dict(load_secrets(["ONE"], {"ONE": "1"}, store, optional=["TWO"])) == {"ONE": "1"}


def test_an_optional_secret_is_read_wherever_it_is() -> None:
    injected = {"ONE": "1", "TWO": "2"}
    assert dict(load_secrets(["ONE"], injected, Never(PREFIX), optional=["TWO"])) == injected
    # Also where all the others are injected: nobody could tell that it is missing.
    stored = Stored(TWO="stored")
    assert load_secrets(["ONE"], {"ONE": "1"}, stored, optional=["TWO"])["TWO"] == "stored"


# The mapping ---------------------------------------------------------------------------


def test_the_mapping_shows_names_only() -> None:
    secrets = Secrets({"B": VALUE, "A": VALUE})
    assert repr(secrets) == str(secrets) == f"{secrets}" == "<Secrets ['A', 'B']>"
    assert len(secrets) == 2
    assert secrets["A"] == VALUE
    with pytest.raises(KeyError):
        secrets["C"]


def test_the_mapping_is_read_only_and_a_copy() -> None:
    source = {"A": "1"}
    secrets: Any = Secrets(source)
    source["A"] = "2"
    assert secrets["A"] == "1"
    with pytest.raises(TypeError):
        secrets["A"] = "2"


# The store -------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/", "//", "shop/production/", "/shop/production"])
def test_a_prefix_that_could_match_another_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="must look like '/project/environment/'"):
        SSMSecretsRetriever(prefix)


@pytest.fixture
def client() -> "SSMClient":
    return boto3.client(
        "ssm", region_name="eu-central-1", aws_access_key_id="t", aws_secret_access_key="t"
    )


@pytest.fixture
def stubber(client: "SSMClient") -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def parameters(first: int, last: int) -> list[dict[str, str]]:
    return [
        {"Name": f"{PREFIX}NAME{i}", "Value": f"value{i}", "Type": "SecureString"}
        for i in range(first, last)
    ]


def test_all_pages_are_read_decrypted(client: "SSMClient", stubber: Stubber) -> None:
    asked: dict[str, Any] = {"Path": PREFIX, "Recursive": False, "WithDecryption": True}
    operation = "get_parameters_by_path"
    first = {"Parameters": parameters(0, 10), "NextToken": "more"}
    stubber.add_response(operation, first, asked)
    stubber.add_response(
        operation, {"Parameters": parameters(10, 13)}, asked | {"NextToken": "more"}
    )
    fetched = SSMSecretsRetriever(PREFIX, client).fetch()
    assert fetched == {f"NAME{i}": f"value{i}" for i in range(13)}


def test_a_refusal_names_cause_and_fix(client: "SSMClient", stubber: Stubber) -> None:
    stubber.add_client_error(
        "get_parameters_by_path", "AccessDeniedException", "not authorized", http_status_code=400
    )
    with pytest.raises(ImproperlyConfigured, match="AccessDeniedException") as caught:
        SSMSecretsRetriever(PREFIX, client).fetch()
    assert f"Secrets below {PREFIX} could not be read" in str(caught.value)
    assert "kms:Decrypt" in str(caught.value)


def test_a_refusal_on_the_second_page_shows_no_value(client: "SSMClient", stubber: Stubber) -> None:
    page = {"Parameters": [{"Name": f"{PREFIX}A", "Value": VALUE}], "NextToken": "more"}
    stubber.add_response("get_parameters_by_path", page)
    stubber.add_client_error("get_parameters_by_path", "ThrottlingException")
    with pytest.raises(ImproperlyConfigured, match="ThrottlingException") as caught:
        SSMSecretsRetriever(PREFIX, client).fetch()
    assert VALUE not in str(caught.value)


def test_an_unreachable_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_arguments: Any, **_options: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://aws.internal:4566")

    monkeypatch.setattr(ssm, "ssm_client", unreachable)
    with pytest.raises(ImproperlyConfigured, match=r"https://aws\.internal:4566"):
        SSMSecretsRetriever(PREFIX).fetch()


def test_values_are_not_serializable_by_accident() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secrets({"A": VALUE}))
