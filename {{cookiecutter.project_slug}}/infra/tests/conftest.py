"""The environments of `variants.toml`, each synthesized once, when a test first asks.

def test_each(environment, templates):      # all of them in turn
def test_one(synthesized):
    template = synthesized("dev-1")["data"]
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from config import Environment
from stacks import add_stacks
from tests.whole import HERE, NAMES, PROJECT, STACKS
from tests.whole import environment as environment_of

type Template = dict[str, Any]
# By the last word of the stack's name.
type Templates = dict[str, Template]


def new_app(outdir: Path) -> cdk.App:
    """Return an app with the context that the CDK's command line reads from cdk.json."""
    context = json.loads((HERE.parent / "cdk.json").read_text(encoding="utf-8"))["context"]
    return cdk.App(outdir=str(outdir), context=context, analytics_reporting=False)


def synthesize(environment: Environment, outdir: Path) -> Templates:
    """Synthesize an environment as `app.py` does; return the templates."""
    app = new_app(outdir)
    add_stacks(app, PROJECT, environment, tag="0123456")
    app.synth()
    prefix = f"{PROJECT.slug}-{environment.name}"
    return {
        stack: json.loads((outdir / f"{prefix}-{stack}.template.json").read_text(encoding="utf-8"))
        for stack in STACKS
    }


@pytest.fixture(scope="session")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Templates]:
    """Return a function from an environment's name to its templates, not to be changed."""

    @cache
    def templates(name: str) -> Templates:
        return synthesize(environment_of(name), tmp_path_factory.mktemp(name))

    return templates


@pytest.fixture(scope="session", params=NAMES)
def environment(request: pytest.FixtureRequest) -> Environment:
    """Each environment of `variants.toml` in turn."""
    return environment_of(request.param)


@pytest.fixture
def templates(environment: Environment, synthesized: Callable[[str], Templates]) -> Templates:
    """The templates of `environment`."""
    return synthesized(environment.name)


def resources(template: Template, kind: str) -> dict[str, Template]:
    """Return the resources of a CloudFormation type by their logical ids."""
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def properties(template: Template, kind: str) -> Template:
    """Return the properties of the only resource of that type; fail if there is another."""
    (only,) = resources(template, kind).values()
    found: Template = only["Properties"]
    return found
