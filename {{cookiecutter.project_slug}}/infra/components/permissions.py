"""What the application's tasks may do on AWS: their task roles' policies.

Parameter Store shows a path's parameters to whoever may read the path, so what keeps a
secret is the key: KMS decrypts a SecureString under an encryption context that names the
parameter, and a data key under one that names project, environment and purpose.
https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
"""

from collections.abc import Mapping
from typing import Any

from aws_cdk import aws_iam as iam

from components.surroundings import Surroundings

# `apps.keys.keyring.Purpose`; tests/test_release.py compares.
PURPOSES = ("fields", "index", "files")

_PARAMETER = "kms:EncryptionContext:PARAMETER_ARN"


def allow_runtime(role: iam.IGrantable, at: Surroundings) -> None:
    """What serves: read its own secrets and the keyrings, use the data keys and the files.

    "Its own" are the parameters directly below the prefix. Those deeper down, the release
    task's and retired keys, are listed by some calls but never decrypted.
    """
    keyrings = [at.parameter_arn(f"/keys/{purpose}") for purpose in PURPOSES]
    _allow(role, ["ssm:GetParametersByPath"], _paths(at, "", "/keys"))
    # The password is read anew when the database refuses it: apps/database/login.py.
    _allow(role, ["ssm:GetParameter"], [*keyrings, at.parameter_arn("/DATABASE_PASSWORD")])
    _allow_key(
        role,
        at,
        ["kms:Decrypt"],
        {
            "StringLike": {_PARAMETER: at.parameter_arn("/*")},
            "StringNotLike": {_PARAMETER: at.parameter_arn("/*/*")},
        },
    )
    _allow_key(role, at, ["kms:Decrypt"], {"StringEquals": {_PARAMETER: keyrings}})
    _allow_key(role, at, ["kms:Decrypt"], _data_keys(at))
    _allow_files(role, at)
    _allow_database_login(role, at, "app")


def allow_release(role: iam.IGrantable, at: Surroundings) -> None:
    """What releases and rotates: make and read all secrets and keys, and use the files.

    Parameter Store encrypts a standard parameter with kms:Encrypt, and an advanced one,
    which an account can have by default, with a data key.
    """
    _allow(role, ["ssm:GetParametersByPath"], _paths(at, "", "/*"))
    parameters = ["ssm:GetParameter", "ssm:GetParameters", "ssm:PutParameter"]
    _allow(role, parameters, [at.parameter_arn("/*")])
    _allow_key(
        role,
        at,
        ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"],
        {"StringLike": {_PARAMETER: at.parameter_arn("/*")}},
    )
    _allow_key(role, at, ["kms:Decrypt", "kms:GenerateDataKey"], _data_keys(at))
    _allow_files(role, at)
    # RDS may want a token of the administrator too: apps/database/connecting.py.
    _allow_database_login(role, at, "migrator", at.database.administrator)


def allow_age_of_cache_password(role: iam.IGrantable, at: Surroundings) -> None:
    """What the alarm SecretAge needs: when the password was made, and not the password.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html
    """
    _allow(role, ["secretsmanager:ListSecretVersionIds"], [at.cache.password.secret_arn])


def _paths(at: Surroundings, *paths: str) -> list[str]:
    """ARNs as GetParametersByPath is asked for them: with a slash at the end, or without."""
    return [at.parameter_arn(path + end) for path in paths for end in ("", "/")]


def _data_keys(at: Surroundings) -> dict[str, Any]:
    """The encryption context of `apps.keys.aws`."""
    return {
        "StringEquals": {
            "kms:EncryptionContext:project": at.project.slug,
            "kms:EncryptionContext:environment": at.environment.name,
            "kms:EncryptionContext:purpose": list(PURPOSES),
        }
    }


def _allow_files(role: iam.IGrantable, at: Surroundings) -> None:
    bucket, key = at.media.bucket, at.keys.media
    _allow(role, ["s3:ListBucket"], [bucket.bucket_arn])
    _allow(
        role,
        ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
        [bucket.arn_for_objects("*")],
    )
    # A bucket key's context is the bucket:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
    _allow(
        role,
        ["kms:Decrypt", "kms:GenerateDataKey"],
        [key.key_arn],
        {
            "StringEquals": {
                "kms:ViaService": f"s3.{at.project.region}.amazonaws.com",
                "kms:EncryptionContext:aws:s3:arn": bucket.bucket_arn,
            }
        },
    )


def _allow_database_login(role: iam.IGrantable, at: Surroundings, *users: str) -> None:
    if at.database.login == "iam":
        _allow(role, ["rds-db:connect"], [at.database.connect_arn(user) for user in users])


def _allow_key(
    role: iam.IGrantable, at: Surroundings, actions: list[str], conditions: Mapping[str, Any]
) -> None:
    _allow(role, actions, [at.keys.secrets.key_arn], conditions)


def _allow(
    role: iam.IGrantable,
    actions: list[str],
    resources: list[str],
    conditions: Mapping[str, Any] | None = None,
) -> None:
    statement = iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)
    role.grant_principal.add_to_principal_policy(statement)
