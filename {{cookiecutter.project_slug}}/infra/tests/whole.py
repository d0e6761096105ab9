"""All stacks of all environments of `variants.toml`, synthesized once, with the findings."""

import copy
import json
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from config import Environment, Project, load_environment
from profiles import PROFILES
from rules import add_validation
from stacks import add_stacks

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VARIANTS = HERE / "variants.toml"
NAMES = tuple(tomllib.loads(VARIANTS.read_text(encoding="utf-8"))["environments"])
STACKS = "foundation", "data", "release", "app"
PROJECT = Project(
    name="Shop",
    slug="shop",
    domain="shop.example.com",
    region="eu-central-1",
    repository="example/shop",
)

Resource = dict[str, Any]


class Templates(dict[str, dict[str, Any]]):
    """The templates of one environment by the last word of their stack's name."""

    def of_type(self, kind: str) -> dict[str, Resource]:
        """The resources of a CloudFormation type, by `stack/LogicalId`."""
        return {name: found for name, found in self.resources() if found["Type"] == kind}

    def resources(self) -> Iterator[tuple[str, Resource]]:
        """Every resource with its name, `stack/LogicalId`."""
        for stack, template in self.items():
            for name, resource in template.get("Resources", {}).items():
                yield f"{stack}/{name}", resource


@dataclass(frozen=True)
class Finding:
    """What a rule says of a construct; with a reason if it is acknowledged."""

    pack: str
    rule: str
    where: str
    text: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.pack}::{self.rule} at {self.where}: {self.text}"


@dataclass(frozen=True)
class Synthesis:
    """What came of it."""

    templates: dict[str, Templates]
    findings: tuple[Finding, ...]


def environment(name: str) -> Environment:
    """The environment of that name in `variants.toml`."""
    return load_environment(name, PROJECT, PROFILES, VARIANTS)


@cache
def synthesis() -> Synthesis:
    """Synthesize and validate everything. What it returns is shared: change copies only."""
    return _synthesize(NAMES)


@cache
def control_tower() -> Synthesis:
    """One environment of each profile, with Control Tower's rules, which take their time."""
    return _synthesize(("dev-2", "staging-2", "production-1"), {"control-tower": True})


def _synthesize(names: Iterable[str], context: Mapping[str, Any] | None = None) -> Synthesis:
    settings = json.loads((HERE.parent / "cdk.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(outdir=folder, context=settings["context"] | dict(context or {}))
        for name in names:
            add_stacks(app, PROJECT, environment(name), tag="0123456")
        add_validation(app)
        with suppress(RuntimeError):  # the findings are in the report
            app.synth()
        report = json.loads((Path(folder) / "validation-report.json").read_text())
        templates = {
            name: Templates(
                {
                    stack: json.loads(
                        (Path(folder) / f"{PROJECT.slug}-{name}-{stack}.template.json").read_text()
                    )
                    for stack in STACKS
                }
            )
            for name in names
        }
    return Synthesis(templates=templates, findings=tuple(_findings(report)))


def own_copy(name: str) -> Templates:
    """The templates of an environment, to be changed."""
    return copy.deepcopy(synthesis().templates[name])


def _findings(report: dict[str, Any]) -> Iterator[Finding]:
    for plugin in report["pluginReports"]:
        violations = [*plugin["violations"], *plugin.get("suppressedViolations", ())]
        if plugin["conclusion"] == "failure" and not plugin["violations"]:
            yield Finding(plugin["pluginName"], "failed", "", str(plugin))
        for violation in violations:
            for construct in violation["violatingConstructs"]:
                yield Finding(
                    pack=plugin["pluginName"],
                    rule=violation["ruleName"],
                    where=construct.get("constructPath", ""),
                    text=violation["description"],
                    reason=violation.get("reason", ""),
                )
