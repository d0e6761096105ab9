"""Makes the application's secrets that are missing, before it can start: part of a release.

    python scripts/create_secrets.py

Each is a random value, in a SecureString under KMS_KEY below /PROJECT/ENVIRONMENT/.
CloudFormation makes no SecureString, and so no value is ever in a template. Never writes
over a value, prints names only, and can be repeated, also by two releases at once.
"""

import os
import secrets
import string
import sys
import tomllib
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PROJECT = tomllib.loads((Path(__file__).parent.parent / "project.toml").read_text())["project"]
# Name to length. Below release/ is what only the release task may read.
SECRETS = {"SECRET_KEY": 64, "DATABASE_PASSWORD": 40, "release/DATABASE_PASSWORD": 40}


def random_value(length: int) -> str:
    """Return letters and digits: nothing that needs quoting anywhere."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def create_secrets(prefix: str, key: str) -> list[str]:
    """Make what is missing below `prefix` and return its names.

    Whether a secret exists is answered by the write itself, so this reads no secret.
    Raises `BotoCoreError` or `ClientError`.
    """
    ssm = boto3.client("ssm", region_name=os.environ.get("AWS_DEFAULT_REGION", PROJECT["region"]))
    if not ssm.meta.endpoint_url.startswith("https://"):
        sys.exit(f"create_secrets: {ssm.meta.endpoint_url} is not https. Set AWS_ENDPOINT_URL.")
    made = []
    for name, length in SECRETS.items():
        try:
            ssm.put_parameter(
                Name=prefix + name,
                Value=random_value(length),
                Type="SecureString",
                KeyId=key,
                Overwrite=False,
            )
        except ssm.exceptions.ParameterAlreadyExists:
            continue
        made.append(name)
    return made


def main() -> None:
    """Make the secrets of the environment that ENVIRONMENT names."""
    slug, environment = PROJECT["slug"], os.environ["ENVIRONMENT"]
    key = os.environ.get("KMS_KEY", f"alias/{slug}-{environment}")
    prefix = f"/{slug}/{environment}/"
    try:
        made = create_secrets(prefix, key)
    except (BotoCoreError, ClientError) as error:
        sys.exit(
            f"create_secrets: {error} Check that the store is reachable and that this role may "
            f"call ssm:PutParameter below {prefix} and use {key}."
        )
    print(f"create_secrets: made {', '.join(made)}" if made else "create_secrets: all exist")


if __name__ == "__main__":
    main()
