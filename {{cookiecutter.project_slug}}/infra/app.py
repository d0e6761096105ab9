"""The CDK app: one environment's stacks, as the context values `environment` and `tag` say.

See the target `synth` in scripts/aws.mk.
"""

import sys

import aws_cdk as cdk

from config import ConfigError, load_environment, load_project
from profiles import PROFILES
from rules import add_validation
from stacks import add_stacks


def _context(app: cdk.App, name: str) -> str:
    """Return a value of the command line. Raises `ConfigError` if it was not given."""
    value = app.node.try_get_context(name)
    if not value:
        raise ConfigError(f"Which {name}? Give --context {name}=...")
    return str(value)


def main() -> None:
    app = cdk.App()
    project = load_project()
    environment = load_environment(_context(app, "environment"), project, PROFILES)
    add_stacks(app, project, environment, tag=_context(app, "tag"))
    add_validation(app)
    app.synth()


if __name__ == "__main__":
    try:
        main()
    except ConfigError as error:
        sys.exit(f"infra: {error}")
