"""AWS WAF in front of a load balancer."""

from aws_cdk import ArnFormat, Fn, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from components.logs import EncryptedLogGroup
from config import Environment, Project

# Requests of one address in five minutes: an office behind one address stays below.
RATE_LIMIT = 2000
# AWS's rule groups, and of each what only counts:
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-list.html
RULE_GROUPS: dict[str, list[str]] = {
    "AWSManagedRulesAmazonIpReputationList": [],
    # Blocks bodies above 8 KB. Attachments have 10 MB; the proxy limits bodies to 12 MB.
    "AWSManagedRulesCommonRuleSet": ["SizeRestrictions_BODY"],
    "AWSManagedRulesKnownBadInputsRuleSet": [],
}


class Firewall(Construct):
    """Known attacks, bad addresses and floods; what it saw is logged, without credentials."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        resource_arn: str,
        log_key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        groups = [
            waf.CfnWebACL.RuleProperty(
                name=name,
                priority=priority,
                override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
                visibility_config=_visibility(name),
                statement=waf.CfnWebACL.StatementProperty(
                    managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                        vendor_name="AWS",
                        name=name,
                        rule_action_overrides=[
                            waf.CfnWebACL.RuleActionOverrideProperty(
                                name=rule,
                                action_to_use=waf.CfnWebACL.RuleActionProperty(count={}),
                            )
                            for rule in counted
                        ],
                    )
                ),
            )
            for priority, (name, counted) in enumerate(RULE_GROUPS.items(), start=1)
        ]
        rate = waf.CfnWebACL.RuleProperty(
            name="RateLimit",
            priority=0,
            action=waf.CfnWebACL.RuleActionProperty(block={}),
            visibility_config=_visibility("RateLimit"),
            statement=waf.CfnWebACL.StatementProperty(
                rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                    aggregate_key_type="IP", limit=RATE_LIMIT, evaluation_window_sec=300
                )
            ),
        )
        # Metrics have the web ACL as a dimension: by its metric name, says AWS's documentation;
        # others see its name. So both are the same here, and each environment's its own.
        # https://docs.aws.amazon.com/waf/latest/developerguide/waf-metrics.html
        self.name = f"{project.slug}-{environment.name}"
        self.web_acl = waf.CfnWebACL(
            self,
            "WebAcl",
            name=self.name,
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visibility(self.name),
            rules=[rate, *groups],
        )
        waf.CfnWebACLAssociation(
            self, "Association", resource_arn=resource_arn, web_acl_arn=self.web_acl.attr_arn
        )
        # WAF wants this beginning. The end differs each time the stack is made, since a
        # protected environment's logs outlive it.
        made = Fn.select(2, Fn.split("/", Stack.of(self).stack_id))
        logs = EncryptedLogGroup(
            self,
            "Logs",
            environment=environment,
            key=log_key,
            name=f"aws-waf-logs-{project.slug}-{environment.name}-{made}",
        )
        waf.CfnLoggingConfiguration(
            self,
            "Logging",
            resource_arn=self.web_acl.attr_arn,
            log_destination_configs=[
                Stack.of(self).format_arn(
                    service="logs",
                    resource="log-group",
                    resource_name=logs.log_group_name,
                    arn_format=ArnFormat.COLON_RESOURCE_NAME,
                )
            ],
            redacted_fields=[
                waf.CfnLoggingConfiguration.FieldToMatchProperty(single_header={"Name": header})
                for header in ("authorization", "cookie")
            ],
        )


def _visibility(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True,
        metric_name=name,
        sampled_requests_enabled=False,  # samples would show the cookies that logs must not
    )
