"""What the stacks must pass when they are synthesized.

Four packs of cdk-nag and our own rules in `own/`, for what no public pack looks at, at every
synth; AWS Control Tower's proactive controls, which take ten seconds, where the context says
`control-tower`: in the tests and when it is deployed. A finding fails the synth. It is
mended, or answered with a reason in `acknowledgements.py`.
"""

from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks
from cdklabs.cdk_validator_cfnguard import CfnGuardValidator

from rules.acknowledgements import ACKNOWLEDGEMENTS, acknowledge
from rules.plugins import GuardRules, NagRules

OWN_RULES = Path(__file__).parent / "own"


def own_rules() -> GuardRules:
    """The rules in `own/`."""
    validator = CfnGuardValidator(control_tower_rules_enabled=False, rules=[str(OWN_RULES)])
    return GuardRules("encryption", validator)


def add_validation(app: cdk.App) -> None:
    """Make the app's synth fail on a finding. The stacks must be there already."""
    packs = AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks
    validations = cdk.Validations.of(app)
    validations.add_plugins(*(NagRules(pack(app)) for pack in packs), own_rules())
    if app.node.try_get_context("control-tower"):
        validations.add_plugins(GuardRules("control-tower", CfnGuardValidator()))
    for stack in app.node.children:
        if isinstance(stack, cdk.Stack):
            acknowledge(stack, ACKNOWLEDGEMENTS)
