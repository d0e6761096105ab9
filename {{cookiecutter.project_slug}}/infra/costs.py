"""Estimates what an environment costs in a month, from its templates and costs.toml.

    python costs.py            write the tables into docs/costs.md
    python costs.py --check    fail if they are not what is written there

Every type of resource in the templates either has a function here that says what is paid
for it, or a reason why nothing is.
"""

import re
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from config import HERE, Environment, Project, load_environment
from profiles import PROFILES
from stacks import add_stacks

HOURS = 730
PAGE = HERE.parent / "docs" / "costs.md"
BEGIN, END = "<!-- costs.py writes from here -->", "<!-- costs.py writes to here -->"

Properties = Mapping[str, Any]


class CostError(ValueError):
    """No estimate can be made; the message names what is missing."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """A price of costs.toml."""

    usd: float
    unit: str
    source: str
    estimate: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What costs.toml says."""

    prices: Mapping[str, Price]
    sources: Mapping[str, Mapping[str, Any]]
    use: Mapping[str, Mapping[str, float]]
    region: str


def load(path: Path = HERE / "costs.toml") -> Costs:
    """Read prices, sources and use. Raises `CostError` for a price without a source."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    prices = {name: Price(**values) for name, values in document["prices"].items()}
    for name, price in prices.items():
        if price.source not in document["sources"]:
            raise CostError(f"{path.name}: the price {name} names no source that is there.")
        if price.source == "guess" and not (price.estimate and price.note):
            raise CostError(f"{path.name}: the price {name} is a guess and must say so.")
    return Costs(
        prices=prices,
        sources=document["sources"],
        use=document["use"],
        region=document["region"],
    )


@dataclass(frozen=True, kw_only=True)
class Charge:
    """So many units of a price, on one line of the table."""

    line: str
    price: str
    units: float


@dataclass(frozen=True, kw_only=True)
class Account:
    """What an environment consists of, and how it is used."""

    environment: Environment
    resources: Mapping[str, Mapping[str, Any]]
    use: Mapping[str, float]

    def charges(self) -> Iterator[Charge]:
        """Yield what is paid. Raises `CostError` for a type of resource that nobody knows."""
        for resource in self.resources.values():
            kind, properties = resource["Type"], resource.get("Properties", {})
            if kind in PAID:
                yield from PAID[kind](self, properties)
            elif kind not in FREE:
                raise CostError(
                    f"costs.py knows no price for {kind}, and no reason why it is free."
                )
        yield Charge(
            line="Traffic to the internet", price="traffic_out", units=self._of("traffic_out")
        )
        yield Charge(
            line="Requests to KMS", price="kms_requests", units=self._of("kms_requests") * 100
        )
        yield Charge(line="Logs", price="logs", units=self._of("logs"))
        # A tenth of its size is stored, for as long as logs are kept.
        kept = self._of("logs") * self.environment.log_days / 30 / 10
        yield Charge(line="Logs", price="logs_stored", units=kept)
        yield Charge(line="Alarms, metrics, dashboard", price="metric", units=OWN_METRICS)

    def _of(self, name: str) -> float:
        return self.use[name]

    # What is paid for a resource -----------------------------------------------------------

    def service(self, properties: Properties) -> Iterator[Charge]:
        """The least number of tasks, all the time."""
        web = "LoadBalancers" in properties
        size = self.environment.web if web else self.environment.worker
        yield from _fargate(
            "Web tasks" if web else "Worker tasks",
            size.cpu,
            size.memory,
            hours=HOURS * size.minimum,
        )

    def schedule(self, properties: Properties) -> Iterator[Charge]:
        """Fargate charges a minute at least, from the start of the download of the image."""
        ecs = properties["Target"].get("EcsParameters")
        if ecs is None:
            return
        task = self.resources[_logical_id(ecs["TaskDefinitionArn"])]["Properties"]
        runs = HOURS * 60 / _minutes(properties["ScheduleExpression"])
        yield from _fargate(
            "Scheduled tasks", int(task["Cpu"]), int(task["Memory"]), hours=runs / 60
        )

    def cluster(self, properties: Properties) -> Iterator[Charge]:
        """Container Insights."""
        yield Charge(
            line="Alarms, metrics, dashboard", price="metric", units=self._of("insight_metrics")
        )

    def load_balancer(self, properties: Properties) -> Iterator[Charge]:
        line = "Load balancer"
        yield Charge(line=line, price="load_balancer", units=HOURS)
        yield Charge(
            line=line, price="load_balancer_unit", units=HOURS * self._of("load_balancer_units")
        )
        yield Charge(line=line, price="address", units=HOURS * len(properties["Subnets"]))

    def nat_gateway(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="NAT", price="nat", units=HOURS)

    def address(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="NAT", price="address", units=HOURS)

    def endpoint(self, properties: Properties) -> Iterator[Charge]:
        if properties.get("VpcEndpointType") == "Interface":
            yield Charge(
                line="Endpoints", price="endpoint", units=HOURS * len(properties["SubnetIds"])
            )

    def encryption_control(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="VPC encryption control", price="encryption_control", units=HOURS)

    def vpc(self, properties: Properties) -> Iterator[Charge]:
        """Its traffic; where there is NAT, a tenth of it goes that way."""
        yield Charge(line="Endpoints", price="endpoint_data", units=self._of("data"))
        if self.environment.network.nat != "none":
            yield Charge(line="NAT", price="nat_data", units=self._of("data") / 10)

    def database(self, properties: Properties) -> Iterator[Charge]:
        copies = 2 if properties["MultiAZ"] else 1
        yield Charge(line="Database", price=properties["DBInstanceClass"], units=HOURS * copies)
        yield Charge(
            line="Database",
            price="database_storage",
            units=int(properties["AllocatedStorage"]) * copies,
        )
        # RDS makes and keeps the master's password.
        yield Charge(line="Secrets", price="secret", units=1)

    def cache(self, properties: Properties) -> Iterator[Charge]:
        nodes = 1 + properties["ReplicasPerNodeGroup"]
        yield Charge(line="Cache", price=properties["CacheNodeType"], units=HOURS * nodes)

    def backups(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="Backups", price="backups", units=self._of("backups"))

    def key(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="KMS keys", price="kms_key", units=1)

    def secret(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="Secrets", price="secret", units=1)

    def alarm(self, properties: Properties) -> Iterator[Charge]:
        """Each metric in it counts."""
        metrics = [item for item in properties.get("Metrics", []) if "MetricStat" in item]
        yield Charge(line="Alarms, metrics, dashboard", price="alarm", units=max(1, len(metrics)))

    def dashboard(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="Alarms, metrics, dashboard", price="dashboard", units=1)

    def firewall(self, properties: Properties) -> Iterator[Charge]:
        line = "Firewall"
        yield Charge(line=line, price="web_acl", units=1)
        yield Charge(line=line, price="web_acl_rule", units=len(properties["Rules"]))
        yield Charge(line=line, price="web_acl_requests", units=self._of("requests"))

    def bucket(self, properties: Properties) -> Iterator[Charge]:
        """Files, and access logs, which use no more than they."""
        yield Charge(line="Files and access logs", price="files", units=self._of("files"))

    def repository(self, properties: Properties) -> Iterator[Charge]:
        yield Charge(line="Images", price="images", units=self._of("images") / 2)


OWN_METRICS = 5  # of apps/operations/measures.py

PAID: dict[str, Callable[[Account, Properties], Iterator[Charge]]] = {
    "AWS::Backup::BackupVault": Account.backups,
    "AWS::CloudWatch::Alarm": Account.alarm,
    "AWS::CloudWatch::Dashboard": Account.dashboard,
    "AWS::EC2::EIP": Account.address,
    "AWS::EC2::NatGateway": Account.nat_gateway,
    "AWS::EC2::VPC": Account.vpc,
    "AWS::EC2::VPCEncryptionControl": Account.encryption_control,
    "AWS::EC2::VPCEndpoint": Account.endpoint,
    "AWS::ECR::Repository": Account.repository,
    "AWS::ECS::Cluster": Account.cluster,
    "AWS::ECS::Service": Account.service,
    "AWS::ElastiCache::ReplicationGroup": Account.cache,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": Account.load_balancer,
    "AWS::KMS::Key": Account.key,
    "AWS::RDS::DBInstance": Account.database,
    "AWS::S3::Bucket": Account.bucket,
    "AWS::Scheduler::Schedule": Account.schedule,
    "AWS::SecretsManager::Secret": Account.secret,
    "AWS::WAFv2::WebACL": Account.firewall,
}

_CONFIGURATION = "configuration, which costs nothing"
_PART = "paid as part of what it belongs to"
FREE: dict[str, str] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "its alarms are paid as the tasks it adds",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "a few alarms that it makes itself: cents",
    "AWS::Backup::BackupPlan": _CONFIGURATION,
    "AWS::Backup::BackupSelection": _CONFIGURATION,
    "AWS::Budgets::Budget": "free as long as it starts no actions",
    "AWS::CDK::Metadata": _CONFIGURATION,
    "AWS::CertificateManager::Certificate": "free for the load balancer",
    "AWS::EC2::FlowLog": "paid as logs",
    "AWS::EC2::InternetGateway": "only traffic is paid",
    "AWS::EC2::Route": _CONFIGURATION,
    "AWS::EC2::RouteTable": _CONFIGURATION,
    "AWS::EC2::SecurityGroup": _CONFIGURATION,
    "AWS::EC2::SecurityGroupEgress": _CONFIGURATION,
    "AWS::EC2::SecurityGroupIngress": _CONFIGURATION,
    "AWS::EC2::Subnet": _CONFIGURATION,
    "AWS::EC2::SubnetRouteTableAssociation": _CONFIGURATION,
    "AWS::EC2::VPCGatewayAttachment": _CONFIGURATION,
    "AWS::ECS::ClusterCapacityProviderAssociations": _CONFIGURATION,
    "AWS::ECS::TaskDefinition": "its tasks are paid: services, schedules, minutes of releases",
    "AWS::ElastiCache::SubnetGroup": _CONFIGURATION,
    "AWS::ElastiCache::User": _CONFIGURATION,
    "AWS::ElastiCache::UserGroup": _CONFIGURATION,
    "AWS::ElasticLoadBalancingV2::Listener": _PART,
    "AWS::ElasticLoadBalancingV2::TargetGroup": _PART,
    "AWS::Events::Rule": "events of AWS services are free",
    "AWS::IAM::Policy": _CONFIGURATION,
    "AWS::IAM::Role": _CONFIGURATION,
    "AWS::KMS::Alias": _PART,
    "AWS::Lambda::Function": "runs when stacks change: within the free tier",
    "AWS::Logs::LogGroup": "what goes into it is paid as logs",
    "AWS::RDS::DBParameterGroup": _CONFIGURATION,
    "AWS::RDS::DBSubnetGroup": _CONFIGURATION,
    "AWS::Route53::RecordSet": "the hosted zone is yours already; aliases to AWS are free",
    "AWS::S3::BucketPolicy": _CONFIGURATION,
    "AWS::SNS::Subscription": "the first 1,000 e-mails of a month are free",
    "AWS::SNS::Topic": "the first million messages of a month is free",
    "AWS::SNS::TopicPolicy": _CONFIGURATION,
    "AWS::SQS::Queue": "the first million requests of a month is free",
    "AWS::SQS::QueuePolicy": _CONFIGURATION,
    "AWS::Scheduler::ScheduleGroup": _CONFIGURATION,
    "AWS::WAFv2::LoggingConfiguration": "paid as logs",
    "AWS::WAFv2::WebACLAssociation": _PART,
    "Custom::VpcRestrictDefaultSG": _CONFIGURATION,
}


def _fargate(line: str, cpu: int, memory: int, *, hours: float) -> Iterator[Charge]:
    yield Charge(line=line, price="fargate_vcpu", units=hours * cpu / 1024)
    yield Charge(line=line, price="fargate_memory", units=hours * memory / 1024)


def _minutes(expression: str) -> int:
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if not found:
        raise CostError(f"costs.py cannot count the runs of the schedule {expression!r}.")
    return int(found[1]) * {"minute": 1, "hour": 60, "day": 1440}[found[2]]


def _logical_id(reference: Any) -> str:
    return str(reference["Ref"])


def estimate(
    environment: Environment, resources: Mapping[str, Mapping[str, Any]], costs: Costs, profile: str
) -> Counter[str]:
    """Return dollars a month by line. `resources` are those of all stacks, by logical id."""
    account = Account(environment=environment, resources=resources, use=costs.use[profile])
    lines: Counter[str] = Counter()
    for charge in account.charges():
        if charge.price not in costs.prices:
            raise CostError(f"costs.toml has no price for {charge.price}.")
        lines[charge.line] += charge.units * costs.prices[charge.price].usd  # type: ignore[assignment]
    return lines


def of_profiles(costs: Costs) -> dict[str, Counter[str]]:
    """Return the estimate of an environment of each profile as it is, without more."""
    certificate = f"arn:aws:acm:{costs.region}:111111111111:certificate/0"
    project = Project(
        name="Shop",
        slug="shop",
        domain="shop.example.com",
        region=costs.region,
        repository="example/shop",
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "environments.toml"
        file.write_text(
            "".join(
                f'[environments.{name}]\nprofile = "{name}"\ncertificate = "{certificate}"\n'
                for name in PROFILES
            )
        )
        found = {}
        for name in PROFILES:
            environment = load_environment(name, project, PROFILES, file)
            app = cdk.App(outdir=f"{folder}/{name}")
            add_stacks(app, project, environment, tag="0000000")
            resources: dict[str, Mapping[str, Any]] = {}
            for stack in app.synth(skip_validation=True).stacks:
                resources |= stack.template.get("Resources", {})
            found[name] = estimate(environment, resources, costs, name)
    return found


def tables(costs: Costs, found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the tables for people: lines by profile, then prices with their sources."""
    names = list(found)
    lines = list(dict.fromkeys(line for each in found.values() for line in each))
    lines.sort(key=lambda line: -found[names[-1]].get(line, 0))
    rows = [
        f"| US dollars a month | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
        *(
            f"| {line} | " + " | ".join(f"{found[name].get(line, 0):,.0f}" for name in names) + " |"
            for line in lines
        ),
        "| **together** | "
        + " | ".join(f"**{sum(found[name].values()):,.0f}**" for name in names)
        + " |",
        "",
        "| price | US dollars | for each | of | source |",
        "|---|---:|---|---|---|",
    ]
    for name, price in costs.prices.items():
        source = costs.sources[price.source]
        text = f"**estimate.** {price.note}" if price.estimate else f"{source['text']}."
        cells = (name.replace("_", " "), f"{price.usd:g}", price.unit, str(source["date"]), text)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def written(page: str, text: str) -> str:
    """Return the page with the text between its marks. Raises `CostError` without marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise CostError(f"{PAGE.name} lacks the marks {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    costs = load()
    page = PAGE.read_text(encoding="utf-8")
    new = written(page, tables(costs, of_profiles(costs)))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        sys.exit(f"{PAGE.name} is out of date. Write it anew: make docs")


if __name__ == "__main__":
    main()
