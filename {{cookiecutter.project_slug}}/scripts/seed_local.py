"""Fills the local stand-in for AWS with what `infra/` makes on AWS.

A KMS key, the application's secrets as SecureStrings, and the bucket for uploads
with SSE-KMS. Reads the SEED_ values from the environment, writes every one again at
each start, and prints no value. Safe to repeat.
"""

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


def put_secrets(prefix: str, alias: str, region: str) -> None:
    """Write each secret as a SecureString under the key."""
    ssm = boto3.client("ssm", region_name=region)
    for name in SECRETS:
        ssm.put_parameter(
            Name=prefix + name,
            Value=os.environ[f"SEED_{name}"],
            Type="SecureString",
            KeyId=alias,
            Overwrite=True,
        )


def main() -> None:
    """Seed everything, or say which value is missing."""
    if missing := [name for name in SECRETS if not os.environ.get(f"SEED_{name}")]:
        sys.exit(
            f"seed: .env lacks {', '.join('SEED_' + name for name in missing)}. Run: make certs"
        )
    region, slug, environment = PROJECT["region"], PROJECT["slug"], os.environ["ENVIRONMENT"]
    alias = f"alias/{slug}-{environment}"
    ensure_key(alias, region)
    ensure_bucket(f"{slug}-{environment}-media", alias, region)
    put_secrets(f"/{slug}/{environment}/", alias, region)
    print(f"seed: key, bucket and {len(SECRETS)} secrets are in place")


if __name__ == "__main__":
    main()
