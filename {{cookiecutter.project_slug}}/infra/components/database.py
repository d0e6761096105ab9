"""PostgreSQL on RDS."""

import re
import ssl

import aws_cdk as cdk
from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from components.logs import EncryptedLogGroup
from config import HERE, ConfigError, Environment, Login, Project

PORT = 5432
CA_FILE = HERE.parent / "services" / "app" / "rds-ca.pem"

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Parameters.html
PARAMETERS = {
    "rds.force_ssl": "1",
    # Our clients ask for nothing older (DATABASES in config/settings.py).
    "ssl_min_protocol_version": "TLSv1.3",
    "password_encryption": "scram-sha-256",
    "rds.accepted_password_auth_method": "scram",
    # Who came and went, and what was slow to get a lock; never a statement, whose values
    # would be in the logs: see "What is not logged" in docs/aws.md.
    "log_connections": "1",
    "log_disconnections": "1",
    "log_lock_waits": "1",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class Database(Construct):
    """An instance under our own key that talks TLS 1.3 or not at all.

    Its administrator's password is made, kept and rotated by RDS; only the release task
    uses it. `login` says how `app` and `migrator` prove who they are.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html

    Raises `ConfigError` if the application could not verify RDS in the project's region.
    """

    name = "app"
    administrator = "master"

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        key: kms.IKey,
        log_key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        _check_ca(project.region)
        config = environment.database
        self.login: Login = config.login
        self._region = project.region
        # Named, because its log groups are named after it and must be there, with their
        # key, before RDS makes them without one. What needs a new instance then fails
        # instead of replacing the database.
        identifier = f"{project.slug}-{environment.name}"
        log_groups = [
            EncryptedLogGroup(
                self,
                f"{log.capitalize()}Logs",
                environment=environment,
                key=log_key,
                name=f"/aws/rds/instance/{identifier}/{log}",
            )
            for log in ("postgresql", "upgrade")
        ]
        # By its ARN: CDK would otherwise widen the key's policy.
        own = kms.Key.from_key_arn(self, "Key", key.key_arn)
        # The newest minor version, as RDS keeps it.
        engine = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_17)
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="Database: who may connect is added by those who do",
            allow_all_outbound=False,
        )
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=engine,
            instance_identifier=identifier,
            instance_type=ec2.InstanceType(config.instance),
            multi_az=config.multi_az,
            vpc=vpc,
            vpc_subnets=subnets,
            security_groups=[self.security_group],
            publicly_accessible=False,
            port=PORT,
            ca_certificate=rds.CaCertificate.RDS_CA_ECC384_G1,
            parameter_group=rds.ParameterGroup(
                self, "Parameters", engine=engine, parameters=PARAMETERS
            ),
            database_name=self.name,
            credentials=rds.Credentials.from_username(self.administrator, encryption_key=own),
            manage_master_user_password=True,
            iam_authentication=True,
            storage_encrypted=True,
            storage_encryption_key=own,
            storage_type=rds.StorageType.GP3,
            allocated_storage=config.storage,
            max_allocated_storage=config.max_storage,
            # AWS Backup starts between these two: see components/backup.py.
            preferred_backup_window="01:00-02:00",
            preferred_maintenance_window="sun:07:00-sun:08:00",
            backup_retention=cdk.Duration.days(config.backup_days),
            delete_automated_backups=not environment.protect,
            copy_tags_to_snapshot=True,
            deletion_protection=environment.protect,
            removal_policy=(
                cdk.RemovalPolicy.SNAPSHOT if environment.protect else cdk.RemovalPolicy.DESTROY
            ),
            auto_minor_version_upgrade=True,
            enable_performance_insights=True,
            performance_insight_encryption_key=own,
            monitoring_interval=cdk.Duration.seconds(60),
            monitoring_role=self._monitoring_role(),
            cloudwatch_logs_exports=["postgresql", "upgrade"],
        )
        self.instance.node.add_dependency(*log_groups)
        assert self.instance.secret  # noqa: S101  # for the types
        self.master_secret: secretsmanager.ISecret = self.instance.secret
        self.host = self.instance.db_instance_endpoint_address
        self.port = PORT
        resource_id = self.instance.instance_resource_id
        assert resource_id  # noqa: S101  # for the types
        self.resource_id: str = resource_id

    def connect_arn(self, user: str) -> str:
        """Return what `rds-db:connect` is allowed on, for that user to log in by IAM.

        https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html
        """
        return (
            f"arn:{Aws.PARTITION}:rds-db:{self._region}:{Aws.ACCOUNT_ID}:"
            f"dbuser:{self.resource_id}/{user}"
        )

    def _monitoring_role(self) -> iam.Role:
        """Figures of the operating system go to the group RDSOSMetrics, which RDS makes.

        https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Monitoring.OS.Enabling.html
        """
        role = iam.Role(
            self,
            "Monitoring",
            assumed_by=iam.ServicePrincipal(
                "monitoring.rds.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
        )
        group = f"arn:{Aws.PARTITION}:logs:{self._region}:{Aws.ACCOUNT_ID}:log-group:RDSOSMetrics"
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogGroup", "logs:PutRetentionPolicy"], resources=[group]
            )
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=[
                    "logs:CreateLogStream",
                    "logs:PutLogEvents",
                    "logs:DescribeLogStreams",
                    "logs:GetLogEvents",
                ],
                resources=[f"{group}:log-stream:*"],
            )
        )
        return role


def _check_ca(region: str) -> None:
    """Raise `ConfigError` unless the application's image has RDS's CAs of the region.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
    """
    cas = ssl.create_default_context(cafile=CA_FILE).get_ca_certs()
    names = str([ca["subject"] for ca in cas])
    if region not in re.findall(r"Amazon RDS ([a-z0-9-]+) Root CA", names):
        raise ConfigError(
            f"The application could not verify a database in {region}: services/app/rds-ca.pem "
            "has no CA of RDS there. Add those of https://truststore.pki.rds.amazonaws.com/"
            f"{region}/{region}-bundle.pem, or take another region."
        )
