"""Configuration of an environment: frozen, validated as it is made, plain data.

`environments.toml` names the environments; each takes a profile of `profiles.py` and
replaces single values. Names, domain and region come from `project.toml`.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

HERE = Path(__file__).resolve().parent

Nat = Literal["none", "one", "per_zone"]
Login = Literal["password", "iam"]


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the value and the fix."""


def _require(good: bool, message: str) -> None:
    if not good:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class Project:
    """The part of `project.toml` that infrastructure needs."""

    name: str
    slug: str
    domain: str
    region: str
    repository: str

    def __post_init__(self) -> None:
        _require(
            bool(re.fullmatch(r"[a-z](-?[a-z0-9])+", self.slug)) and len(self.slug) <= 30,
            f"slug {self.slug!r}: 2 to 30 lower-case letters, digits and single hyphens.",
        )


@dataclass(frozen=True, kw_only=True)
class HostedZone:
    """A public Route 53 zone of this account."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Zones, addresses and the way out.

    With `nat = "none"` tasks reach AWS through endpoints and nothing else.
    """

    zones: int = 2
    # Of the region's zones; some regions lack one (`aws ec2 describe-availability-zones`).
    letters: str = "abc"
    cidr: str = "10.0.0.0/16"
    nat: Nat = "none"

    @property
    def zone_letters(self) -> str:
        """The letters of the zones in use."""
        return self.letters[: self.zones]

    def __post_init__(self) -> None:
        _require(self.zones in {2, 3}, f"network.zones is {self.zones}: take 2 or 3.")
        _require(
            bool(re.fullmatch(r"[a-z]{3}", self.letters)) and len(set(self.letters)) == 3,
            f'network.letters {self.letters!r}: three different ones, as in "abc".',
        )
        try:
            network = IPv4Network(self.cidr)
        except ValueError as error:
            raise ConfigError(f"network.cidr {self.cidr!r}: {error}.") from None
        _require(
            network.is_private and 16 <= network.prefixlen <= 20,
            f"network.cidr {self.cidr}: take a private network of /16 to /20.",
        )


@dataclass(frozen=True, kw_only=True)
class DatabaseConfig:
    """RDS for PostgreSQL. `login`: how app and migrator prove who they are."""

    instance: str = "t4g.small"
    multi_az: bool = True
    storage: int = 20  # GiB
    max_storage: int = 100  # GiB, grown by itself
    backup_days: int = 14
    login: Login = "password"

    def __post_init__(self) -> None:
        _require(
            bool(re.fullmatch(r"[a-z0-9-]+\.[a-z0-9]+", self.instance)),
            f'database.instance {self.instance!r}: a class without "db.", as in "t4g.small".',
        )
        _require(
            20 <= self.storage <= self.max_storage <= 65536,
            "database.storage and max_storage: 20 <= storage <= max_storage <= 65536 GiB.",
        )
        _require(
            1 <= self.backup_days <= 35, f"database.backup_days is {self.backup_days}: 1 to 35."
        )


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """ElastiCache for Valkey. With replicas it fails over by itself."""

    node: str = "cache.t4g.micro"
    replicas: int = 1

    def __post_init__(self) -> None:
        _require(
            bool(re.fullmatch(r"cache\.[a-z0-9-]+\.[a-z0-9]+", self.node)),
            f'cache.node {self.node!r}: a node type, as in "cache.t4g.micro".',
        )
        _require(0 <= self.replicas <= 5, f"cache.replicas is {self.replicas}: 0 to 5.")


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
_FARGATE_MEMORY = {
    256: {512, 1024, 2048},
    512: set(range(1024, 4097, 1024)),
    1024: set(range(2048, 8193, 1024)),
    2048: set(range(4096, 16385, 1024)),
    4096: set(range(8192, 30721, 1024)),
}


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """A Fargate service: CPU units (1024 are one vCPU), MiB of memory, number of tasks."""

    cpu: int = 512
    memory: int = 2048
    minimum: int = 2
    maximum: int = 6
    spot: bool = False

    def __post_init__(self) -> None:
        _require(
            self.memory in _FARGATE_MEMORY.get(self.cpu, ()),
            f"Fargate has no task of {self.cpu} CPU units with {self.memory} MiB. "
            f"Take one of {_FARGATE_MEMORY}.",
        )
        _require(
            1 <= self.minimum <= self.maximum,
            f"A service of {self.minimum} to {self.maximum} tasks: 1 <= minimum <= maximum.",
        )


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One deployment of the project."""

    name: str
    account: str | None = None
    domain: str
    hosted_zone: HostedZone | None = None
    certificate: str | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    web: ServiceConfig = field(default_factory=ServiceConfig)
    worker: ServiceConfig = field(default_factory=ServiceConfig)
    # One flag for every protection against deletion, and for what outlives the stacks.
    protect: bool = True
    # `aws ecs execute-command` into running tasks.
    exec: bool = False
    log_days: int = 365
    # Where alarms go; each address must confirm the subscription.
    alarm_emails: tuple[str, ...] = ()
    monthly_budget: int = 500  # US dollars

    def __post_init__(self) -> None:
        _require(
            bool(re.fullmatch(r"[a-z](-?[a-z0-9])+", self.name))
            and len(self.name) <= 15
            and self.name != "local",
            f"environment {self.name!r}: 2 to 15 lower-case letters, digits and single "
            "hyphens, and not 'local'.",
        )
        _require(
            self.account is None or bool(re.fullmatch(r"\d{12}", self.account)),
            f"{self.name}: account {self.account!r} is not 12 digits.",
        )
        _require(
            self.hosted_zone is None or self.certificate is None,
            f"{self.name}: give hosted_zone or certificate, not both.",
        )
        if self.hosted_zone:
            _require(
                f".{self.domain}".endswith(f".{self.hosted_zone.name}"),
                f"{self.name}: the domain {self.domain} is not in the hosted zone "
                f"{self.hosted_zone.name}.",
            )
        if self.certificate:
            _require(
                bool(re.fullmatch(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:.+", self.certificate)),
                f"{self.name}: certificate {self.certificate!r} is not the ARN of a certificate.",
            )


def load_project(path: Path = HERE.parent / "project.toml") -> Project:
    """Read `project.toml`. Raises `ConfigError` for a missing or bad value."""
    values = _read(path).get("project", {})
    names = [item.name for item in dataclasses.fields(Project)]
    if missing := [name for name in names if not values.get(name)]:
        raise ConfigError(f"{path.name}: [project] lacks {', '.join(missing)}.")
    return Project(**{name: values[name] for name in names})


def load_environment(
    name: str,
    project: Project,
    profiles: Mapping[str, Mapping[str, Any]],
    path: Path = HERE / "environments.toml",
) -> Environment:
    """Return the environment of that name.

    Raises `ConfigError`, naming the value and the fix, for an unknown environment,
    profile or key, a value of the wrong type, and values that do not fit together.
    """
    environments = _read(path).get("environments", {})
    if name not in environments:
        raise ConfigError(
            f"There is no environment {name!r} in {path.name}. It has: {', '.join(environments)}."
        )
    own = dict(environments[name])
    profile = own.pop("profile", None)
    if profile not in profiles:
        raise ConfigError(
            f"{name}: profile {profile!r} is unknown. Take one of: {', '.join(profiles)}."
        )
    domain = project.domain if profile == "production" else f"{name}.{project.domain}"
    values = {"name": name, "domain": domain} | _merged(dict(profiles[profile]), own)
    environment: Environment = _build(Environment, values, name)
    return environment


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in over.items():
        both = isinstance(base.get(key), dict) and isinstance(value, dict)
        base[key] = _merged(dict(base[key]), value) if both else value
    return base


def _build(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    if unknown := values.keys() - hints.keys():
        raise ConfigError(
            f"{where}: {', '.join(sorted(unknown))} is unknown. Known: {', '.join(hints)}."
        )
    given = {key: _value(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}.") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as `hint` wants it."""
    choices = [item for item in get_args(hint) or (hint,) if item is not type(None)]
    if get_origin(hint) is Literal:
        _require(value in choices, f"{where} is {value!r}: take one of {', '.join(choices)}.")
        return value
    if get_origin(hint) is tuple:
        good = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        _require(good, f"{where} is {value!r}: a list of strings is wanted.")
        return tuple(value)
    kind = choices[0]
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return _build(kind, value, where)  # type: ignore[arg-type]
    _require(type(value) is kind, f"{where} is {value!r}: {kind.__name__} is wanted.")
    return value
