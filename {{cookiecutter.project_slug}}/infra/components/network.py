"""The network: who can be reached from where, and how AWS is reached from inside."""

import aws_cdk as cdk
from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from components.logs import EncryptedLogGroup
from config import Environment

_VPC_ENDPOINTS = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Kms": ec2.InterfaceVpcEndpointAwsService.KMS,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
}
_SESSIONS = {"SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES}


class Network(Construct):
    """A VPC of three tiers, with AWS's services reached by endpoints inside it.

    edge   load balancer and NAT gateways; the only tier with a way in from the internet
    app    tasks and endpoints; a way out if `network.nat` gives one
    data   database and cache; no way out

    Flow logs note for each connection whether it was encrypted (`encryption-status`):
    https://docs.aws.amazon.com/vpc/latest/userguide/vpc-encryption-controls.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Environment,
        region: str,
        log_key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        config = environment.network
        app = (
            ec2.SubnetType.PRIVATE_ISOLATED
            if config.nat == "none"
            else ec2.SubnetType.PRIVATE_WITH_EGRESS
        )
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(config.cidr),
            availability_zones=[f"{region}{letter}" for letter in config.zone_letters],
            # The addresses stay when a zone is added.
            reserved_azs=3 - config.zones,
            restrict_default_security_group=True,
            nat_gateways={"none": 0, "one": 1, "per_zone": config.zones}[config.nat],
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="edge",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    map_public_ip_on_launch=False,
                ),
                ec2.SubnetConfiguration(name="app", subnet_type=app),
                ec2.SubnetConfiguration(name="data", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            ],
        )
        self.edge = ec2.SubnetSelection(subnet_group_name="edge")
        self.app = ec2.SubnetSelection(subnet_group_name="app")
        self.data = ec2.SubnetSelection(subnet_group_name="data")
        self.edge_cidrs = self._cidrs(self.edge)
        self._default_security_group_log(environment, log_key)
        self._flow_logs(environment, log_key)
        ec2.CfnVPCEncryptionControl(
            self, "EncryptionControl", vpc_id=self.vpc.vpc_id, mode="monitor"
        )
        self.endpoints = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Endpoints of AWS services: HTTPS from the app subnets",
            allow_all_outbound=False,
        )
        for cidr in self._cidrs(self.app):
            self.endpoints.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443))
        services = _VPC_ENDPOINTS | (_SESSIONS if environment.exec else {})
        for name, service in services.items():
            self._interface_endpoint(name, service)
        self._s3_endpoint(region)

    def _cidrs(self, tier: ec2.SubnetSelection) -> list[str]:
        chosen = self.vpc.select_subnets(subnet_group_name=tier.subnet_group_name)
        return [subnet.ipv4_cidr_block for subnet in chosen.subnets]

    def _default_security_group_log(self, environment: Environment, key: kms.IKey) -> None:
        """Give the function that empties the default security group an encrypted log.

        CloudFormation itself cannot take rules away. Without a group of ours, Lambda would
        make one, unencrypted and kept for ever.
        """
        provider = cdk.Stack.of(self).node.find_child(
            "Custom::VpcRestrictDefaultSGCustomResourceProvider"
        )
        function = provider.node.find_child("Handler")
        assert isinstance(function, cdk.CfnResource)  # noqa: S101  # for the types
        group = EncryptedLogGroup(self, "DefaultSecurityGroupLog", environment=environment, key=key)
        function.add_property_override("LoggingConfig", {"LogGroup": group.log_group_name})

    def _flow_logs(self, environment: Environment, log_key: kms.IKey) -> None:
        group = EncryptedLogGroup(self, "FlowLogs", environment=environment, key=log_key)
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group),
            log_format=[
                ec2.LogFormat.ALL_DEFAULT_FIELDS,
                ec2.LogFormat.custom("${encryption-status}"),
            ],
        )

    def _interface_endpoint(self, name: str, service: ec2.InterfaceVpcEndpointAwsService) -> None:
        endpoint = self.vpc.add_interface_endpoint(
            name,
            service=service,
            subnets=self.app,
            security_groups=[self.endpoints],
            open=False,
        )
        endpoint.add_to_policy(_own_account_only())

    def _s3_endpoint(self, region: str) -> None:
        endpoint = self.vpc.add_gateway_endpoint(
            "S3", service=ec2.GatewayVpcEndpointAwsService.S3, subnets=[self.app]
        )
        endpoint.add_to_policy(_own_account_only())
        # ECR keeps the layers of images in a bucket of its own:
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-setting-up-s3-gateway
        endpoint.add_to_policy(
            iam.PolicyStatement(
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject"],
                resources=[f"arn:{Aws.PARTITION}:s3:::prod-{region}-starport-layer-bucket/*"],
            )
        )


def _own_account_only() -> iam.PolicyStatement:
    """No use of another account's credentials or resources through an endpoint.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_data-perimeters.html
    """
    return iam.PolicyStatement(
        principals=[iam.AnyPrincipal()],
        actions=["*"],
        resources=["*"],
        conditions={
            "StringEquals": {
                "aws:PrincipalAccount": Aws.ACCOUNT_ID,
                "aws:ResourceAccount": Aws.ACCOUNT_ID,
            }
        },
    )
