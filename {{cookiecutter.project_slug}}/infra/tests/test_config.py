"""What the configuration accepts, and what it says of what it does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config import (
    HERE,
    ConfigError,
    Environment,
    Project,
    load_environment,
    load_project,
)
from profiles import PROFILES
from tests.whole import PROJECT


def load(tmp_path: Path, toml: str, name: str = "demo") -> Environment:
    path = tmp_path / "environments.toml"
    path.write_text(toml)
    return load_environment(name, PROJECT, PROFILES, path)


@pytest.mark.parametrize("name", ["dev", "staging", "production"])
def test_the_environments_of_a_new_project_load(name: str) -> None:
    environment = load_environment(name, PROJECT, PROFILES, HERE / "environments.toml")

    assert environment.name == name
    assert environment.protect is (name != "dev")
    assert environment.exec is (name != "production")


def test_no_profile_sets_encryption() -> None:
    def names(values: dict[str, Any]) -> set[str]:
        inner = [names(each) for each in values.values() if isinstance(each, dict)]
        return set(values).union(*inner)

    for profile in PROFILES.values():
        assert not [name for name in names(profile) if "crypt" in name or "tls" in name]


@pytest.mark.parametrize(
    ("profile", "domain"),
    [("production", "shop.example.com"), ("staging", "demo.shop.example.com")],
)
def test_domain_follows_profile(tmp_path: Path, profile: str, domain: str) -> None:
    assert load(tmp_path, f'[environments.demo]\nprofile = "{profile}"').domain == domain


def test_environment_replaces_single_values_of_its_profile(tmp_path: Path) -> None:
    environment = load(
        tmp_path,
        '[environments.demo]\nprofile = "production"\nlog_days = 30\n'
        'database = {storage = 200}\nalarm_emails = ["ops@example.com"]',
    )

    assert environment.database.storage == 200
    assert environment.database.instance == PROFILES["production"]["database"]["instance"]
    assert environment.alarm_emails == ("ops@example.com",)
    assert environment.log_days == 30


def test_loading_leaves_profiles_alone(tmp_path: Path) -> None:
    before = repr(PROFILES)
    load(tmp_path, '[environments.demo]\nprofile = "dev"\ndatabase = {storage = 50}')

    assert repr(PROFILES) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("exec = 1", r"demo\.exec is 1: bool is wanted"),
        ("log_days = true", r"demo\.log_days is True: int is wanted"),
        ("alarm_emails = 'ops@example.com'", "a list of strings is wanted"),
        ("encryption = false", "demo: encryption is unknown. Known: name, account"),
        ("database = {encrypted = false}", r"demo\.database: encrypted is unknown"),
        ("database = 5", r"demo\.database is 5: a table is wanted"),
        ('database = {login = "trust"}', "take one of password, iam"),
        ('database = {instance = "db.t4g.small"}', 'without "db."'),
        ("database = {storage = 10}", "20 <= storage"),
        ("database = {storage = 200, max_storage = 100}", "20 <= storage"),
        ("database = {backup_days = 0}", r"backup_days is 0: 1 to 35"),
        ("database = {backup_days = 36}", r"backup_days is 36: 1 to 35"),
        ('cache = {node = "t4g.micro"}', "a node type"),
        ("cache = {replicas = 6}", r"replicas is 6: 0 to 5"),
        ('network = {nat = "two"}', "take one of none, one, per_zone"),
        ("network = {zones = 1}", "take 2 or 3"),
        ("network = {zones = 4}", "take 2 or 3"),
        ('network = {letters = "ab"}', "three different ones"),
        ('network = {letters = "aab"}', "three different ones"),
        ('network = {cidr = "10.0.0.1/16"}', "host bits set"),
        ('network = {cidr = "8.8.0.0/16"}', "take a private network"),
        ('network = {cidr = "10.0.0.0/24"}', "of /16 to /20"),
        ("web = {cpu = 256, memory = 4096}", "no task of 256 CPU units with 4096 MiB"),
        ("web = {cpu = 300}", "no task of 300 CPU units"),
        ("worker = {minimum = 3, maximum = 2}", "1 <= minimum <= maximum"),
        ("worker = {minimum = 0}", "1 <= minimum <= maximum"),
        ('account = "1234"', "account '1234' is not 12 digits"),
        ('certificate = "arn:aws:iam::1:x"', "not the ARN of a certificate"),
        (
            'hosted_zone = {id = "Z1", name = "example.com"}\n'
            'certificate = "arn:aws:acm:eu-central-1:111122223333:certificate/1"',
            "hosted_zone or certificate, not both",
        ),
        ('hosted_zone = {id = "Z1", name = "other.org"}', "is not in the hosted zone"),
        ('hosted_zone = {id = "Z1", name = "op.example.com"}', "is not in the hosted zone"),
        ('hosted_zone = {id = "Z1"}', r"demo\.hosted_zone: .*name"),
        (
            'hosted_zone = {id = "/hostedzone/Z1", name = "example.com"}',
            r"hosted_zone\.id '/hosted",
        ),
        ('hosted_zone = {id = "Z1", name = "example.com."}', "without a dot at its end"),
        (
            'certificate = "arn:aws:acm:us-east-1:111122223333:certificate/1"',
            "is not in the region eu-central-1",
        ),
        (
            'account = "111111111111"\n'
            'certificate = "arn:aws:acm:eu-central-1:999999999999:certificate/1"',
            "is not in the account 111111111111",
        ),
        ('certificate = ""', "not the ARN of a certificate"),
        ('domain = "https://shop.example.com"', "demo: domain 'https:.*in lower case"),
        ('domain = "localhost"', "demo: domain 'localhost'"),
        ('name = "other"', "Remove the key name"),
        ('network = {cidr = "127.0.0.0/16"}', r"RFC 1918"),
        ("log_days = 100", r"log_days is 100\. CloudWatch Logs knows 1, 3, 5"),
        ('alarm_emails = ["ops"]', "alarm_emails has 'ops', which is no address"),
        ('alarm_emails = ["a@b.org", "a@b.org"]', "each once"),
        (f"alarm_emails = {[f'{n}@b.org' for n in range(11)]}", "11 addresses: take up to 10"),
        ("monthly_budget = 0", "monthly_budget is 0 dollars"),
    ],
)
def test_bad_value_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f'[environments.demo]\nprofile = "dev"\n{line}')


@pytest.mark.parametrize(
    "name", ["d", "Dev", "1dev", "de_v", "dev-", "a--b", "sixteen-letters-", "a" * 16, "local"]
)
def test_environment_name_that_some_resource_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"environment .*: 2 to 15"):
        load(tmp_path, f'[environments."{name}"]\nprofile = "dev"', name)


@pytest.mark.parametrize("slug", ["s", "Shop", "shop_a", "shop-", "a--b", "a" * 31])
def test_slug_that_some_resource_refuses(slug: str) -> None:
    with pytest.raises(ConfigError, match="slug"):
        Project(name="x", slug=slug, domain="x.org", region="eu-central-1", repository="a/b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"domain": "shop"}, r"project\.domain 'shop'"),
        ({"region": "Frankfurt"}, r"project\.region 'Frankfurt': a region of AWS"),
    ],
)
def test_project_that_some_resource_refuses(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PROJECT, **values)


@pytest.mark.parametrize("names", [("prod", "prod-eu"), ("prod-eu", "prod")], ids=" ".join)
def test_no_environment_is_named_as_another_begins(tmp_path: Path, names: tuple[str, str]) -> None:
    asked, other = names
    toml = f'[environments.{other}]\nprofile = "dev"\n[environments.{asked}]\nprofile = "dev"\n'
    with pytest.raises(ConfigError, match=r"^prod-eu begins as prod does.*another name"):
        load(tmp_path, toml, name=asked)


def test_two_environments_cannot_have_one_domain(tmp_path: Path) -> None:
    toml = '[environments.demo]\nprofile = "production"\n[environments.shop]\nprofile = "dev"\n'

    assert load(tmp_path, toml + 'domain = "dev.shop.example.com"').name == "demo"
    with pytest.raises(ConfigError, match=r"demo and shop both have the domain shop\.example\.com"):
        load(tmp_path, toml + 'domain = "shop.example.com"')


@pytest.mark.parametrize(
    "toml",
    ["environments = 3", '[environments]\ndemo = "dev"', '[environments.demo]\nprofile = ["dev"]'],
)
def test_value_in_place_of_a_table(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ConfigError, match=r"a table is wanted|Take one of: dev"):
        load(tmp_path, toml)


def test_unknown_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no environment 'test' in environments\.toml.*: demo"):
        load(tmp_path, '[environments.demo]\nprofile = "dev"', "test")


@pytest.mark.parametrize("line", ["", 'profile = "huge"'])
def test_unknown_profile(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="Take one of: dev, staging, production"):
        load(tmp_path, f"[environments.demo]\n{line}")


@pytest.mark.parametrize("content", [None, "[environments"])
def test_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "environments.toml"
    if content:
        path.write_text(content)

    with pytest.raises(ConfigError, match=r"environments\.toml cannot be read"):
        load_environment("demo", PROJECT, PROFILES, path)


def test_project_is_read_from_its_one_place(tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.write_text(
        '[project]\nname = "Shop"\nslug = "shop"\ndescription = "Sells."\n'
        'domain = "shop.example.com"\nregion = "eu-central-1"\nrepository = "example/shop"\n'
    )

    assert load_project(path) == PROJECT


def test_project_without_a_value(tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.write_text('[project]\nname = "Shop"\nslug = "shop"\nregion = ""\n')

    with pytest.raises(ConfigError, match="lacks domain, region, repository"):
        load_project(path)
