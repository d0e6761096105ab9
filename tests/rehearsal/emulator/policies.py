"""IAM's policies, asked at every call: the emulator does that, but knows little of KMS.

Here are the encryption context, by which policies tell one secret from another, and the calls
of KMS that Parameter Store makes for those who read and write a SecureString.
https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
"""

import json
from collections.abc import Callable
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.iam_evaluator import EvalContext, combine_resource_policy, evaluate
from ministack.core.responses import error_response_json, get_region
from ministack.services import kms, ssm
from places import ACCOUNT

_tags = iam_actions.request_tag_context
_resource = iam_actions.extract_resource_arn
_shown = ssm._param_out


class DeniedError(Exception):
    """The caller may not use a key as a call needs it; the message says which."""


def install() -> None:
    """Replace functions of the emulator's. AUTH=true makes it ask at all."""
    iam_actions.request_tag_context = _request_context
    iam_actions.extract_resource_arn = _resource_arn
    ssm._param_out = _decrypted
    for name in ("_get_parameter", "_get_parameters", "_get_parameters_by_path"):
        setattr(ssm, name, _answering(getattr(ssm, name)))
    ssm._put_parameter = _answering(_encrypted(ssm._put_parameter))


def _request_context(service: str, action: str, body: bytes, params: Any) -> dict[str, Any]:
    found: dict[str, Any] = _tags(service, action, body, params)
    if service == "kms":
        context = json.loads(body or b"{}").get("EncryptionContext") or {}
        found |= {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
    return found


def _resource_arn(
    service: str, method: str, path: str, headers: Any, body: bytes, *others: Any
) -> str:
    """Name what the emulator has "*" for, and a key for its alias, as policies do.

    Of several parameters the first is named, and each is checked when it is decrypted.
    """
    asked = json.loads(body or b"{}") if service in ("ssm", "kms") else {}
    if service == "kms" and (record := kms._resolve_key(asked.get("KeyId", ""))):
        return str(record["Arn"])
    if name := asked.get("Path") or next(iter(asked.get("Names") or []), ""):
        return f"arn:aws:ssm:{get_region()}:{ACCOUNT}:parameter{name}"
    return str(_resource(service, method, path, headers, body, *others))


def _check_key(key: str, action: str, parameter_arn: str) -> None:
    """Raise `DeniedError` unless the caller may use the key for the parameter."""
    caller, region = iam_evaluator.caller_arn(), get_region()
    if ":assumed-role/" not in caller:  # the account's administrator
        return
    record = kms._resolve_key(key)
    if record is None:
        raise DeniedError(f"there is no key {key}")
    context = EvalContext(
        principal_arn=caller,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=record["Arn"],
        region=region,
        service_context={
            "kms:encryptioncontext:parameter_arn": parameter_arn,
            "kms:viaservice": f"ssm.{region}.amazonaws.com",
            "kms:calleraccount": ACCOUNT,
        },
    )
    role = iam_evaluator._role_name_from_assumed_arn(caller)
    identity = evaluate(context, iam_evaluator._gather_role_policies(role, ACCOUNT))
    policy = record.get("Policy")
    found = combine_resource_policy(identity, context, policy, ACCOUNT, required=True)
    if found.decision != "Allow":
        raise DeniedError(f"{caller} is not authorized to perform {action} for {parameter_arn}")


def _decrypted(parameter: dict[str, Any], with_decryption: bool = False) -> Any:
    if with_decryption and parameter["Type"] == "SecureString":
        _check_key(parameter["KeyId"], "kms:Decrypt", parameter["ARN"])
    return _shown(parameter, with_decryption)


def _encrypted(put: Callable[..., Any]) -> Callable[..., Any]:
    def handle(data: dict[str, Any]) -> Any:
        if data.get("Type") == "SecureString":
            arn = f"arn:aws:ssm:{get_region()}:{ACCOUNT}:parameter{data['Name']}"
            _check_key(data.get("KeyId") or "alias/aws/ssm", "kms:Encrypt", arn)
        return put(data)

    return handle


def _answering(handler: Callable[..., Any]) -> Callable[..., Any]:
    def handle(data: dict[str, Any]) -> Any:
        try:
            return handler(data)
        except DeniedError as denied:
            return error_response_json("AccessDeniedException", str(denied), 400)

    return handle
