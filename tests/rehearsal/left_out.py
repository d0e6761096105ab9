"""What the emulator cannot create: it records these types and makes nothing.

The list may only shrink. The emulator refuses to start when it has learnt a type, and the
rehearsal fails when no template has a type any more.
"""

import uuid
from typing import Any

type Properties = dict[str, Any]
type Made = tuple[str, dict[str, str]]

LEFT_OUT = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::Backup::BackupSelection",
        "AWS::EC2::FlowLog",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::VPCEncryptionControl",
        "AWS::ECS::ClusterCapacityProviderAssociations",
        "AWS::WAFv2::LoggingConfiguration",
        "AWS::WAFv2::WebACLAssociation",
        # CDK's function that empties the VPC's default group would need a Lambda runtime.
        "Custom::VpcRestrictDefaultSG",
    }
)
# Left out only where the property is set.
IN_PART = {"AWS::CloudWatch::Alarm": "Metrics"}


def is_left_out(kind: str, properties: Properties) -> bool:
    """Is a resource of a template only recorded?"""
    return kind in LEFT_OUT or (kind in IN_PART and IN_PART[kind] in properties)


def add_to(handlers: dict[str, Any]) -> None:
    """Add a handler for each type. Raises `SystemExit` if one is not needed any more."""
    if learnt := sorted(LEFT_OUT & handlers.keys()):
        raise SystemExit(f"The emulator can create {', '.join(learnt)}: take it off LEFT_OUT.")
    for kind in LEFT_OUT:
        handlers[kind] = {"create": _record, "update": _keep, "delete": lambda *_: None}
    for kind, name in IN_PART.items():
        handler = handlers[kind]
        handler["create"] = _in_part(handler["create"], name, _record, 1)
        handler["update"] = _in_part(handler["update"], name, _keep, 2)


def _record(logical_id: str, _props: Properties, _stack: str) -> Made:
    return _named(f"{logical_id.lower()[:40]}-{uuid.uuid4().hex[:8]}")


def _keep(physical_id: str, *_: Any) -> Made:
    return _named(physical_id)


def _named(physical_id: str) -> Made:
    return physical_id, {"Arn": f"arn:aws:left-out:::{physical_id}"}


def _in_part(handle: Any, name: str, otherwise: Any, position: int) -> Any:
    def choose(*arguments: Any) -> Any:
        return (otherwise if name in arguments[position] else handle)(*arguments)

    return choose
