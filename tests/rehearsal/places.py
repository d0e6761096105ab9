"""Where things are in a rehearsal: what the emulator and the program that starts it agree on."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from authority import Authority, Pair

ACCOUNT = "123456789012"
# The administrator's secret key; the access key is the account's number.
SECRET = "rehearsal"  # noqa: S105
# As on ECS: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
TASK_METADATA = "169.254.170.2"
# The load balancers' address: a loopback address that nothing else listens at.
EDGE = "127.90.0.1"
# What tasks call the emulator. No certificate names its IP address.
ENDPOINT = "aws.internal"


@dataclass(frozen=True)
class Places:
    """The folder of one rehearsal, and the Docker network of its containers."""

    folder: Path
    network: str
    gateway: str
    port: int
    region: str
    account: str = ACCOUNT

    @classmethod
    def given(cls) -> "Places":
        """Read them from the environment."""
        env = os.environ
        return cls(
            folder=Path(env["REHEARSAL_DIR"]),
            network=env["REHEARSAL_NETWORK"],
            gateway=env["REHEARSAL_GATEWAY"],
            port=int(env["REHEARSAL_PORT"]),
            region=env["REHEARSAL_REGION"],
        )

    @property
    def environment(self) -> dict[str, str]:
        """What `given` reads."""
        return {
            "REHEARSAL_DIR": str(self.folder),
            "REHEARSAL_NETWORK": self.network,
            "REHEARSAL_GATEWAY": self.gateway,
            "REHEARSAL_PORT": str(self.port),
            "REHEARSAL_REGION": self.region,
        }

    @property
    def url(self) -> str:
        """The endpoint for programs on this machine."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def task_url(self) -> str:
        return f"https://{ENDPOINT}:{self.port}"

    @property
    def registry(self) -> str:
        """The address of the image registry. Docker takes any certificate of a loopback address."""
        return f"127.0.0.1:{self.port}"

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.folder / "ca.key", self.folder / "ca.crt")

    def certificate(self, *names: str) -> Pair:
        """Return the server certificate for these names, made when first asked for."""
        folder = self.folder / "certificates" / names[0]
        if folder.is_dir():
            return Pair(folder / "tls.key", folder / "tls.crt")
        return self.authority.issue(folder, *names)
