"""The public rule packs as validation plugins whose findings count and can be answered."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aws_cdk as cdk
import jsii
from cdk_nag import NagPack
from cdklabs.cdk_validator_cfnguard import CfnGuardValidator


class _Plugin:
    """What a plugin need not say of itself."""

    @property
    def version(self) -> str | None:
        return None

    @property
    def rule_ids(self) -> list[str] | None:
        return None


@jsii.implements(cdk.IPolicyValidationPlugin)
class NagRules(_Plugin):
    """A pack of cdk-nag; one rule has one id, whichever wildcard or policy it found.

    cdk-nag appends that to the id, in brackets, with the names of the environment: an answer
    would hold for one environment only. Here it is part of the description.
    """

    def __init__(self, pack: NagPack) -> None:
        self._pack = pack

    @property
    def name(self) -> str:
        """The name in the report, and before `::` in an acknowledgement."""
        return self._pack.read_pack_name

    def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
        """Judge the constructs."""
        report = self._pack.validate(context)
        return cdk.PolicyValidationPluginReport(
            success=report.success,
            violations=[self._renamed(violation) for violation in report.violations],
        )

    def _renamed(self, violation: cdk.PolicyViolation) -> cdk.PolicyViolation:
        rule, bracket, finding = violation.rule_name.partition("[")
        return cdk.PolicyViolation(
            rule_name=rule.removeprefix(f"{self.name}-"),
            description=f"{violation.description} {bracket}{finding}".strip(),
            severity=violation.severity,
            violating_resources=violation.violating_resources,
        )


@jsii.implements(cdk.IPolicyValidationPlugin)
class GuardRules(_Plugin):
    """CloudFormation Guard rules.

    The validator leaves the severity of its findings open. As soon as one of them is
    acknowledged, aws-cdk-lib (2.275, `collectSuppressions`) judges the others by their
    severity, and without one they no longer fail the synth. Here each is an error.

    Control Tower's rules see one template and take a value from another stack for a missing
    one; they are shown its name instead.
    """

    def __init__(self, name: str, validator: CfnGuardValidator) -> None:
        self._name = name
        self._validator = validator

    @property
    def name(self) -> str:
        """The name in the report, and before `::` in an acknowledgement."""
        return self._name

    def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
        """Judge the templates."""
        originals = {Path(path).name: path for path in context.template_paths}
        with TemporaryDirectory() as folder:
            copies = []
            for name, path in originals.items():
                template = json.loads(Path(path).read_text(encoding="utf-8"))
                copies.append(Path(folder) / name)
                copies[-1].write_text(json.dumps(_with_names(template)), encoding="utf-8")
            shown = _Templates([str(path) for path in copies])
            report = self._validator.validate(shown)  # type: ignore[arg-type]  # asks no more
        return cdk.PolicyValidationPluginReport(
            success=report.success,
            violations=[
                cdk.PolicyViolation(
                    rule_name=violation.rule_name,
                    description=violation.description,
                    fix=violation.fix,
                    severity="error",
                    violating_resources=[
                        cdk.PolicyViolatingResource(
                            locations=resource.locations,
                            resource_logical_id=resource.resource_logical_id,
                            template_path=originals[Path(resource.template_path).name],
                        )
                        for resource in violation.violating_resources
                    ],
                )
                for violation in report.violations
            ],
        )


@jsii.implements(cdk.IPolicyValidationContextBeta1)
class _Templates:
    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)

    @property
    def template_paths(self) -> list[str]:
        return self._paths


def _with_names(value: Any) -> Any:
    """`value` with the name of each export in place of what imports it."""
    match value:
        case {"Fn::ImportValue": str(name)}:
            return name
        case dict():
            return {key: _with_names(inner) for key, inner in value.items()}
        case list():
            return [_with_names(inner) for inner in value]
        case _:
            return value
