"""Valkey on ElastiCache."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from components.logs import EncryptedLogGroup
from config import Environment

PORT = 6379
# As locally: services/credentials/install.
ACCESS = "on ~* &* +@all -@admin -@dangerous +info +flushdb"
NO_ACCESS = "off ~* -@all"


class Cache(Construct):
    """A replication group that answers over TLS only, to one user with a password.

    With replicas it fails over by itself, to another zone. The engine's log is kept; the
    slow log is not, since it quotes what was being stored.
    https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/in-transit-encryption.html
    https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Clusters.RBAC.html
    """

    user = "app"

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Environment,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        key: kms.IKey,
        log_key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self.password = secretsmanager.Secret(
            self,
            "Password",
            description=f"Password of the cache's user {self.user!r}",
            encryption_key=kms.Key.from_key_arn(self, "Key", key.key_arn),
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="Cache: who may connect is added by those who do",
            allow_all_outbound=False,
        )
        chosen = vpc.select_subnets(subnet_group_name=subnets.subnet_group_name)
        subnet_group = elasticache.CfnSubnetGroup(
            self, "Subnets", description="Data subnets", subnet_ids=chosen.subnet_ids
        )
        users = self._users()
        several = environment.cache.replicas > 0
        group = elasticache.CfnReplicationGroup(
            self,
            "Group",
            replication_group_description="Cache of the application",
            engine="valkey",
            engine_version="8.1",
            auto_minor_version_upgrade=True,
            cache_node_type=environment.cache.node,
            num_node_groups=1,
            replicas_per_node_group=environment.cache.replicas,
            automatic_failover_enabled=several,
            multi_az_enabled=several,
            cache_subnet_group_name=subnet_group.ref,
            security_group_ids=[self.security_group.security_group_id],
            port=PORT,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            at_rest_encryption_enabled=True,
            kms_key_id=key.key_arn,
            user_group_ids=[users.ref],
            # Nothing in it is needed after a loss; controls want to see some days.
            snapshot_retention_limit=15,
            log_delivery_configurations=[self._engine_log(environment, log_key)],
        )
        # What `rotate_cache_password` needs.
        for name, value in {
            "User": self._id(self.user),
            "Password": self.password.secret_arn,
        }.items():
            cdk.CfnOutput(self, f"Output{name}", value=value).override_logical_id(f"Cache{name}")
        self.group_id = group.ref
        self.host = group.attr_primary_end_point_address
        self.port = PORT

    def _users(self) -> elasticache.CfnUserGroup:
        """`app`, and `default` switched off: without one of its own, a group can get one
        that may do everything."""
        password = self.password.secret_value.unsafe_unwrap()  # a reference, not the value
        users = [
            elasticache.CfnUser(
                self,
                f"User{name.capitalize()}",
                engine="valkey",
                user_id=self._id(name),
                user_name=name,
                access_string=access,
                authentication_mode={"Type": "password", "Passwords": [password]},
            )
            for name, access in ((self.user, ACCESS), ("default", NO_ACCESS))
        ]
        return elasticache.CfnUserGroup(
            self,
            "Users",
            engine="valkey",
            user_group_id=self._id("users"),
            user_ids=[user.ref for user in users],
        )

    def _id(self, name: str) -> str:
        """Users have no generated names: make one of project, environment and a hash."""
        unique = cdk.Names.unique_resource_name(self, max_length=30, separator="-").lower()
        return f"{unique}-{name}"

    def _engine_log(
        self, environment: Environment, key: kms.IKey
    ) -> elasticache.CfnReplicationGroup.LogDeliveryConfigurationRequestProperty:
        request = elasticache.CfnReplicationGroup
        group: logs.LogGroup = EncryptedLogGroup(
            self, "EngineLog", environment=environment, key=key
        )
        return request.LogDeliveryConfigurationRequestProperty(
            log_type="engine-log",
            log_format="json",
            destination_type="cloudwatch-logs",
            destination_details=request.DestinationDetailsProperty(
                cloud_watch_logs_details=request.CloudWatchLogsDestinationDetailsProperty(
                    log_group=group.log_group_name
                )
            ),
        )
