"""The way in from the internet: name, certificate, load balancer and firewall.

The load balancer encrypts to the task but does not verify the task's certificate, not even its
dates, and cannot be told to:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html#target-group-routing-configuration
That hop is encrypted and not authenticated; docs/encryption.md says so. A body that comes in
over HTTP/2 without a length it passes on in chunks, which the proxy answers with 411.
"""

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from constructs import Construct

from components.firewall import Firewall
from components.network import Network
from config import ConfigError, Environment, Project

# The proxy's port in services/nginx/nginx.conf.
TARGET_PORT = 8443


class Edge(Construct):
    """An application load balancer that serves HTTPS and speaks HTTPS to its targets.

    `environment` must have a hosted zone or a certificate; raises `ConfigError` otherwise.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        network: Network,
        access_logs: s3.IBucket,
        log_key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        zone = self._zone(environment)
        self.certificate = self._certificate(environment, zone)
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=network.vpc,
            description=f"{project.slug} {environment.name}: load balancer",
            allow_all_outbound=False,  # the target group adds the one way out
        )
        for port, use in ((443, "HTTPS"), (80, "redirect to HTTPS")):
            self.security_group.add_ingress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(port), use)

        self.load_balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=network.vpc,
            vpc_subnets=network.edge,
            internet_facing=True,
            security_group=self.security_group,
            deletion_protection=environment.protect,
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
            http2_enabled=True,
            # The proxy believes the last address that is not a load balancer's.
            xff_header_processing_mode=elb.XffHeaderProcessingMode.APPEND,
            idle_timeout=Duration.seconds(65),  # below the proxy's keepalive_timeout, 75 s
        )
        self.load_balancer.log_access_logs(access_logs, "requests")
        self.load_balancer.log_connection_logs(access_logs, "connections")
        self.target_group = elb.ApplicationTargetGroup(
            self,
            "Targets",
            vpc=network.vpc,
            target_type=elb.TargetType.IP,
            protocol=elb.ApplicationProtocol.HTTPS,
            port=TARGET_PORT,
            # Longer than any request may take (proxy_read_timeout).
            deregistration_delay=Duration.seconds(65),
            health_check=elb.HealthCheck(
                protocol=elb.Protocol.HTTPS,
                path="/livez",
                healthy_http_codes="200",
                interval=Duration.seconds(15),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        self.load_balancer.add_listener(
            "Https",
            port=443,
            open=False,
            protocol=elb.ApplicationProtocol.HTTPS,
            # TLS 1.2 and 1.3 with post-quantum key exchange. A policy without 1.3 would also
            # make the load balancer offer older versions to the targets.
            ssl_policy=elb.SslPolicy.TLS13_12_RES_PQ,
            certificates=[self.certificate],
            default_target_groups=[self.target_group],
        )
        self.load_balancer.add_listener(
            "Http",
            port=80,
            open=False,
            protocol=elb.ApplicationProtocol.HTTP,
            default_action=elb.ListenerAction.redirect(
                protocol="HTTPS", port="443", permanent=True
            ),
        )
        self.firewall = Firewall(
            self,
            "Firewall",
            project=project,
            environment=environment,
            resource_arn=self.load_balancer.load_balancer_arn,
            log_key=log_key,
        )
        if zone:
            route53.ARecord(
                self,
                "Name",
                zone=zone,
                record_name=environment.domain,
                target=route53.RecordTarget.from_alias(
                    targets.LoadBalancerTarget(self.load_balancer)
                ),
            )
        # Where the domain must point if nobody does it here.
        CfnOutput(
            self, "Address", value=self.load_balancer.load_balancer_dns_name
        ).override_logical_id("LoadBalancerName")

    def _zone(self, environment: Environment) -> route53.IHostedZone | None:
        if environment.hosted_zone is None:
            return None
        return route53.HostedZone.from_hosted_zone_attributes(
            self,
            "Zone",
            hosted_zone_id=environment.hosted_zone.id,
            zone_name=environment.hosted_zone.name,
        )

    def _certificate(
        self, environment: Environment, zone: route53.IHostedZone | None
    ) -> acm.ICertificate:
        if environment.certificate:
            return acm.Certificate.from_certificate_arn(
                self, "Certificate", environment.certificate
            )
        if zone is None:
            raise ConfigError(
                f"{environment.name}: there is no certificate for {environment.domain}. In "
                f"infra/environments.toml, below [environments.{environment.name}], set either "
                'hosted_zone = {id = "Z...", name = "..."}, a Route 53 zone of this account in '
                "which the domain lies, or certificate, the ARN of a certificate in ACM."
            )
        return acm.Certificate(
            self,
            "Certificate",
            domain_name=environment.domain,
            validation=acm.CertificateValidation.from_dns(zone),
            key_algorithm=acm.KeyAlgorithm.EC_PRIME256_V1,
        )
