"""Fills the local stand-in for AWS with what `infra/` makes on AWS.

A KMS key, the application's secrets as SecureStrings, and the bucket for uploads
with SSE-KMS. Writes every password again at each start, but SECRET_KEY only once: it
rotates in the store. Prints no secret. Safe to repeat.

    python scripts/seed_local.py FILE    (FILE has lines SEED_NAME=value, as .env)
"""

import contextlib
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

PROJECT = tomllib.loads((Path(__file__).parent.parent / "project.toml").read_text())["project"]
SECRETS = ("SECRET_KEY", "DATABASE_PASSWORD", "CACHE_PASSWORD")


def ensure_key(alias: str, region: str) -> None:
    """Make the customer-managed key and its alias, once."""
    kms = boto3.client("kms", region_name=region)
    try:
        kms.describe_key(KeyId=alias)
    except kms.exceptions.NotFoundException:
        key = kms.create_key(Description="Local stand-in for the project's key")["KeyMetadata"]
        kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
        kms.enable_key_rotation(KeyId=key["KeyId"])


def ensure_bucket(name: str, alias: str, region: str) -> None:
    """Make the bucket, once, and set its default encryption."""
    s3 = boto3.client("s3", region_name=region)
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
        # us-east-1 is the default and must not be named.
        elsewhere: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **({} if region == "us-east-1" else elsewhere))
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": alias}
    rules: Any = [{"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})


def put_secrets(values: dict[str, str], prefix: str, alias: str, region: str) -> None:
    """Write each secret as a SecureString under the key; keep a SECRET_KEY that is there."""
    ssm = boto3.client("ssm", region_name=region)
    for name, value in values.items():
        again = name != "SECRET_KEY"
        with contextlib.suppress(ssm.exceptions.ParameterAlreadyExists):
            ssm.put_parameter(
                Name=prefix + name, Value=value, Type="SecureString", KeyId=alias, Overwrite=again
            )


def read_seeds(path: Path) -> dict[str, str]:
    """Return the values of the lines `SEED_NAME=value`; exit if one is missing."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.removeprefix("SEED_").split("=", 1) for line in lines if line.startswith("SEED_")]
    values = {name: value for name, value in pairs if value}
    if missing := [name for name in SECRETS if name not in values]:
        sys.exit(f"seed: {path} lacks {', '.join(f'SEED_{n}' for n in missing)}. Run: make certs")
    return {name: values[name] for name in SECRETS}


def main() -> None:
    """Seed everything from the file named on the command line."""
    values = read_seeds(Path(sys.argv[1]))
    region, slug, environment = PROJECT["region"], PROJECT["slug"], os.environ["ENVIRONMENT"]
    alias = f"alias/{slug}-{environment}"
    ensure_key(alias, region)
    ensure_bucket(f"{slug}-{environment}-media", alias, region)
    put_secrets(values, f"/{slug}/{environment}/", alias, region)
    print(f"seed: key, bucket and {len(values)} secrets are in place")


if __name__ == "__main__":
    main()
