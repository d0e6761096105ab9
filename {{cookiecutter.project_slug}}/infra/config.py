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


_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_PRIVATE = [IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_LOG_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the value and the fix."""


def _require(good: bool, message: str) -> None:
    if not good:
        raise ConfigError(message)


def _require_domain(value: str, where: str) -> None:
    _require(
        bool(_DOMAIN.fullmatch(value)) and len(value) <= 253,
        f'{where} {value!r}: a name in lower case, without a dot at its end, as in "example.com".',
    )


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
        _require_domain(self.domain, "project.domain")
        _require(
            bool(re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", self.region)),
            f'project.region {self.region!r}: a region of AWS, as in "eu-central-1".',
        )


@dataclass(frozen=True, kw_only=True)
class HostedZone:
    """A public Route 53 zone of this account."""

    id: str
    name: str

    def __post_init__(self) -> None:
        _require(
            bool(re.fullmatch(r"Z[0-9A-Z]+", self.id)),
            f'hosted_zone.id {self.id!r}: what Route 53 shows, as in "Z0123456789ABCDEFGHIJ".',
        )
        _require_domain(self.name, "hosted_zone.name")


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
            any(network.subnet_of(each) for each in _PRIVATE) and 16 <= network.prefixlen <= 20,
            f"network.cidr {self.cidr}: take a private network (RFC 1918) of /16 to /20.",
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
        _require_domain(self.domain, f"{self.name}: domain")
        self._check_certificate()
        _require(
            self.log_days in _LOG_DAYS,
            f"{self.name}: log_days is {self.log_days}. CloudWatch Logs knows "
            f"{', '.join(map(str, _LOG_DAYS))}.",
        )
        for address in self.alarm_emails:
            _require(
                bool(re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address)),
                f"{self.name}: alarm_emails has {address!r}, which is no address.",
            )
        _require(
            len(set(self.alarm_emails)) == len(self.alarm_emails) <= 10,
            f"{self.name}: alarm_emails has {len(self.alarm_emails)} addresses: take up to 10, "
            "each once. A mailing list reaches more people.",
        )
        _require(
            self.monthly_budget > 0,
            f"{self.name}: monthly_budget is {self.monthly_budget} dollars.",
        )

    def _check_certificate(self) -> None:
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
        if self.certificate is not None:
            arn = re.fullmatch(
                r"arn:aws[a-z-]*:acm:[a-z0-9-]+:(\d{12}):certificate/.+", self.certificate
            )
            _require(
                bool(arn),
                f"{self.name}: certificate {self.certificate!r} is not the ARN of a certificate.",
            )
            _require(
                self.account is None or f":{self.account}:" in self.certificate,
                f"{self.name}: the certificate {self.certificate} is not in the account "
                f"{self.account}.",
            )


def load_project(path: Path = HERE.parent / "project.toml") -> Project:
    """Read `project.toml`. Raises `ConfigError` for a missing or bad value."""
    values = _table(_read(path).get("project", {}), "project")
    names = [item.name for item in dataclasses.fields(Project)]
    if missing := [name for name in names if not values.get(name)]:
        raise ConfigError(f"{path.name}: [project] lacks {', '.join(missing)}.")
    project: Project = _build(Project, {name: values[name] for name in names}, "project")
    return project


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
    environments = _table(_read(path).get("environments", {}), "environments")
    if name not in environments:
        raise ConfigError(
            f"There is no environment {name!r} in {path.name}. It has: {', '.join(environments)}."
        )
    own = dict(_table(environments[name], name))
    _require("name" not in own, f"{name}: its name is that of its table. Remove the key name.")
    profile = own.pop("profile", None)
    if profile not in list(profiles):
        raise ConfigError(
            f"{name}: profile {profile!r} is unknown. Take one of: {', '.join(profiles)}."
        )
    values = {"name": name, "domain": _default_domain(name, profile, project)}
    environment: Environment = _build(
        Environment, values | _merged(dict(profiles[profile]), own), name
    )
    _check_alone(environment, environments, project)
    _require(
        environment.certificate is None or f":{project.region}:" in environment.certificate,
        f"{name}: the certificate {environment.certificate} is not in the region {project.region}, "
        "where the load balancer is.",
    )
    return environment


def _default_domain(name: str, profile: Any, project: Project) -> str:
    return project.domain if profile == "production" else f"{name}.{project.domain}"


def _check_alone(
    environment: Environment, environments: Mapping[str, Any], project: Project
) -> None:
    """Raise `ConfigError` if another environment has the same domain, or names like its own.

    Policies know what is an environment's by how its name begins.
    """
    for name, values in environments.items():
        one, other = sorted((environment.name, name), key=len)
        _require(
            not other.startswith(f"{one}-"),
            f"{other} begins as {one} does, so policies for {one} would hold for {other} as well. "
            f"Choose another name for [environments.{other}], that only ends alike.",
        )
        table = _table(values, name)
        domain = table.get("domain") or _default_domain(name, table.get("profile"), project)
        _require(
            name == environment.name or domain != environment.domain,
            f"{environment.name} and {name} both have the domain {environment.domain}. Set another "
            f"domain below [environments.{environment.name}] or [environments.{name}].",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}: a table is wanted.")
    return value


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
    if dataclasses.is_dataclass(kind):
        return _build(kind, _table(value, where), where)  # type: ignore[arg-type]
    _require(type(value) is kind, f"{where} is {value!r}: {kind.__name__} is wanted.")
    return value
