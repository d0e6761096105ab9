"""The parameter store of these tests: one that also keeps old versions."""

from datetime import UTC, datetime
from typing import Any

from tests.secrets.parameter_store import Killed, ParameterStore


class VersionedStore(ParameterStore):
    """Answers `NAME:VERSION` too; `reads` are the names that were asked for."""

    def __init__(self, prefix: str, **values: str) -> None:
        super().__init__()
        self.versions: dict[str, list[str]] = {}
        self.reads: list[str] = []
        for name, value in values.items():
            self.client.put_parameter(Name=prefix + name.replace("__", "/"), Value=value)

    def GetParameter(  # noqa: N802
        self,
        Name: str,  # noqa: N803
        WithDecryption: bool,  # noqa: N803
    ) -> tuple[int, dict[str, Any]]:
        assert WithDecryption
        self.reads.append(Name)
        name, _, wanted = Name.partition(":")
        versions = self.versions.get(name, [])
        number = int(wanted or len(versions))
        if not versions:
            return 400, {"Error": {"Code": "ParameterNotFound", "Message": "There is none."}}
        value = versions[number - 1]
        return 200, {"Parameter": {"Name": name, "Value": value, "Version": number}}

    def PutParameter(self, **request: Any) -> tuple[int, dict[str, Any]]:  # noqa: N802
        if request["Name"] in self.values and not request.get("Overwrite"):
            return 400, {"Error": {"Code": "ParameterAlreadyExists", "Message": "It exists."}}
        if self.kill_at == "before":
            raise Killed
        self.writes.append(request)
        self.values[request["Name"]] = request["Value"]
        self.written_at[request["Name"]] = datetime.now(UTC)
        self.versions.setdefault(request["Name"], []).append(request["Value"])
        if self.kill_at == "after":
            raise Killed
        return 200, {}
