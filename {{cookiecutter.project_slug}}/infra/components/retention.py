"""What becomes of data when its stack is deleted."""

import aws_cdk as cdk

from config import Environment


def removal_policy(environment: Environment) -> cdk.RemovalPolicy:
    """Return what keeps a protected environment's data, and deletes any other's."""
    return cdk.RemovalPolicy.RETAIN if environment.protect else cdk.RemovalPolicy.DESTROY
