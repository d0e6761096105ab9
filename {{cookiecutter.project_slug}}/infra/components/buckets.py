"""Buckets: private, TLS only, versioned."""

import aws_cdk as cdk
from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from components.retention import removal_policy
from config import Environment

# Deleted and overwritten files can be brought back this long.
_UNDO = cdk.Duration.days(30)
_SSE = "s3:x-amz-server-side-encryption"


class LogBucket(Construct):
    """Access logs of the load balancer and of the media bucket.

    Encrypted by S3 (AES-256) and not under a key of ours, the one store for which that
    is so: load balancers can write to no other.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
    """

    def __init__(self, scope: Construct, construct_id: str, *, environment: Environment) -> None:
        super().__init__(scope, construct_id)
        self.bucket = _bucket(
            self,
            environment=environment,
            key=None,
            lifecycle=s3.LifecycleRule(
                expiration=cdk.Duration.days(environment.log_days),
                noncurrent_version_expiration=cdk.Duration.days(1),
                abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
            ),
        )
        # For any bucket of this account: the media bucket's name is not known yet.
        self.bucket.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
                actions=["s3:PutObject"],
                resources=[self.bucket.arn_for_objects("s3/*")],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )


class MediaBucket(Construct):
    """Uploaded files, under our own key. The application encrypts them before as well.

    Its policy refuses an upload that asks for another encryption or key; one that asks
    for none gets the right ones from the bucket.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Environment,
        key: kms.IKey,
        access_logs: s3.IBucket,
    ) -> None:
        super().__init__(scope, construct_id)
        self.bucket = _bucket(
            self,
            environment=environment,
            key=key,
            lifecycle=s3.LifecycleRule(
                noncurrent_version_expiration=_UNDO,
                abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
                expired_object_delete_marker=True,
            ),
        )
        # Not by CDK's property, which would write this bucket's name into the policy of
        # the other, and so make its stack need this one.
        raw = self.bucket.node.default_child
        assert isinstance(raw, s3.CfnBucket)  # noqa: S101  # for the types
        raw.logging_configuration = s3.CfnBucket.LoggingConfigurationProperty(
            destination_bucket_name=access_logs.bucket_name, log_file_prefix="s3/media/"
        )
        for name, wanted in {
            _SSE: "aws:kms",
            f"{_SSE}-aws-kms-key-id": key.key_arn,
        }.items():
            self._refuse_upload({"Null": {_SSE: "false"}, "StringNotEquals": {name: wanted}})
        self._refuse_upload({"Null": {f"{_SSE}-customer-algorithm": "false"}})

    def _refuse_upload(self, conditions: dict[str, object]) -> None:
        self.bucket.add_to_resource_policy(
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["s3:PutObject"],
                resources=[self.bucket.arn_for_objects("*")],
                conditions=conditions,
            )
        )


def _bucket(
    scope: Construct,
    *,
    environment: Environment,
    key: kms.IKey | None,
    lifecycle: s3.LifecycleRule,
) -> s3.Bucket:
    """Return a private bucket; without a key, S3 encrypts with its own."""
    # By its ARN: CDK would otherwise widen the key's policy, which is complete.
    own = key and kms.Key.from_key_arn(scope, "Key", key.key_arn)
    return s3.Bucket(
        scope,
        "Bucket",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        bucket_key_enabled=True if key else None,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=own,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        lifecycle_rules=[lifecycle],
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        removal_policy=removal_policy(environment),
        versioned=True,
    )
