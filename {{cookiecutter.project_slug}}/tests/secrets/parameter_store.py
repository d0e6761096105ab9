"""Parameter Store in memory, behind a real client: botocore checks every request."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class Killed(BaseException):
    """What SIGKILL is to the process that runs a command: nothing handles it."""


class ParameterStore:
    """What the rotation needs of Parameter Store; nothing is sent anywhere.

    `kill_at` names the moment of the next write at which the writer dies: "before" the
    store has it, or "after".
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.written_at: dict[str, datetime] = {}
        self.writes: list[dict[str, Any]] = []
        self.kill_at = ""
        self.client: SSMClient = boto3.client(
            "ssm", region_name="eu-central-1", aws_access_key_id="t", aws_secret_access_key="t"
        )
        # botocore sends a request only if this returns nothing:
        # https://docs.aws.amazon.com/boto3/latest/guide/events.html
        answer: Any = self._answer  # typed as if it could only return nothing
        self.client.meta.events.register("before-call.ssm", answer)

    def _answer(
        self, model: Any, params: dict[str, Any], **_: Any
    ) -> tuple[AWSResponse, dict[str, Any]]:
        status, answer = getattr(self, model.name)(**json.loads(params["body"]))
        return AWSResponse("https://ssm.invalid", status, HTTPHeaders(), None), answer

    def GetParameters(  # noqa: N802
        self,
        Names: list[str],  # noqa: N803
        WithDecryption: bool,  # noqa: N803
    ) -> tuple[int, dict[str, Any]]:
        assert WithDecryption
        found = [
            {"Name": name, "Value": self.values[name], "LastModifiedDate": self.written_at[name]}
            for name in Names
            if name in self.values
        ]
        return 200, {"Parameters": found}

    def PutParameter(self, **request: Any) -> tuple[int, dict[str, Any]]:  # noqa: N802
        if request["Name"] in self.values and not request["Overwrite"]:
            return 400, {"Error": {"Code": "ParameterAlreadyExists", "Message": "It exists."}}
        if self.kill_at == "before":
            raise Killed
        self.writes.append(request)
        self.values[request["Name"]] = request["Value"]
        self.written_at[request["Name"]] = datetime.now(UTC)
        if self.kill_at == "after":
            raise Killed
        return 200, {}
