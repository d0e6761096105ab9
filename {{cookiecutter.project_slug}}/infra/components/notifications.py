"""Where alarms go."""

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from config import Environment


class Notifications(Construct):
    """A topic under our own key, published to over TLS only, with e-mail subscribers.

    EventBridge, whose requests no condition may be put on, is let in by the rules that use
    the topic.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    E-mail leaves AWS as any e-mail does: a message says what happened, never data.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, environment: Environment, key: kms.IKey
    ) -> None:
        super().__init__(scope, construct_id)
        # By its ARN: CDK would otherwise widen the key's policy, which is complete.
        self.topic = sns.Topic(
            self,
            "Topic",
            enforce_ssl=True,
            master_key=kms.Key.from_key_arn(self, "Key", key.key_arn),
        )
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        for number, address in enumerate(environment.alarm_emails):
            sns.Subscription(
                self,
                f"Email{number}",
                topic=self.topic,
                protocol=sns.SubscriptionProtocol.EMAIL,
                endpoint=address,
            )
