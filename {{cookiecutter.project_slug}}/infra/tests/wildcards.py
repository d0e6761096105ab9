"""Every `*` that the templates allow, by action and resource, and why it has to be."""

from tests.properties import Wildcard

# Patterns; `<...>` stands for a reference, and [[] for one bracket.
EXPLAINED = (
    Wildcard(
        kind="AWS::KMS::Key",
        actions=("kms:*",),
        resource="*",
        reason="Enables IAM policies for the account's own principals; * is the key itself.",
    ),
    Wildcard(
        kind="AWS::KMS::Key",
        actions=(
            "kms:CreateGrant",
            "kms:Decrypt",
            "kms:Encrypt",
            "kms:GenerateDataKey*",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncrypt*",
            "kms:DescribeKey",
        ),
        resource="*",
        reason="For one AWS service under a condition; * is the key itself, and the actions "
        "with * are those that AWS's documentation gives.",
    ),
    Wildcard(
        kind="AWS::EC2::VPCEndpoint",
        actions=("*",),
        resource="*",
        reason="A fence, not a grant: only for principals and resources of this account.",
    ),
    Wildcard(
        kind="AWS::EC2::VPCEndpoint",
        actions=("s3:GetObject", "everyone: *"),
        resource="arn:<AWS::Partition>:s3:::prod-*-starport-layer-bucket/*",
        reason="AWS's bucket, where ECR keeps the layers of images, for whoever may pull them.",
    ),
    Wildcard(
        kind="AWS::S3::BucketPolicy",
        actions=("s3:PutObject",),
        resource="<AccessLogsBucket.Arn>/*",
        reason="AWS's log delivery writes objects below a prefix.",
    ),
    Wildcard(
        actions=("ecr:GetAuthorizationToken",),
        resource="*",
        reason="Has no resource; what may be pulled is named.",
    ),
    Wildcard(
        actions=(
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ),
        resource="*",
        reason="ECS Exec; these have no resource.",
    ),
    Wildcard(
        actions=("logs:DescribeLogGroups",),
        resource="*",
        reason="ECS Exec looks for the group of session logs; has no resource.",
    ),
    Wildcard(
        actions=("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
        resource="arn:*:log-group:<*ClusterSessions*>:*",
        reason="Streams of the one group of session logs.",
    ),
    Wildcard(
        actions=(
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:GetLogEvents",
            "logs:PutLogEvents",
        ),
        resource="arn:*:log-group:RDSOSMetrics:log-stream:*",
        reason="Streams of the one group that enhanced monitoring of RDS writes to.",
    ),
    Wildcard(
        actions=("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
        resource="<*MediaBucket*Arn*>/*",
        reason="Files in the media bucket.",
    ),
    Wildcard(
        actions=(
            "ssm:GetParameter",
            "ssm:GetParameters",
            "ssm:GetParametersByPath",
            "ssm:PutParameter",
        ),
        resource="arn:*:parameter/shop/*/*",
        reason="The release task makes and reads the secrets of this environment, all of them.",
    ),
)
