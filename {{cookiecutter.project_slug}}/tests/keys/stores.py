"""What the tests put in the place of the key store and of the clock."""

import base64
from threading import Event

from apps.keys.errors import KeyStoreError
from apps.keys.keyring import Purpose
from apps.keys.making import make_key
from apps.keys.memory import MemoryKeyStore
from apps.keys.store import StoredKey, StoredRing


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FailingStore(MemoryKeyStore):
    """Counts what it is asked, and fails or answers late if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.unwrapped: list[str] = []
        self.fails = False
        self.may_answer = Event()
        self.may_answer.set()
        self.is_asked = Event()

    def read(self, purpose: str) -> StoredRing | None:
        self.reads.append(purpose)
        self.is_asked.set()
        assert self.may_answer.wait(20)
        if self.fails:
            raise KeyStoreError("The store is away.")
        return super().read(purpose)

    def unwrap(self, purpose: str, wrapped: str) -> bytes:
        self.unwrapped.append(wrapped)
        return super().unwrap(purpose, wrapped)

    def secret(self, purpose: Purpose) -> bytes:
        """Return the active key's secret."""
        ring = self.rings[purpose]
        (active,) = (key for key in ring.keys if key.id == ring.active)
        return base64.b64decode(active.wrapped)

    def add_key(self, purpose: Purpose) -> StoredKey:
        """Make a new active key, as another process does that begins a rotation."""
        reads = list(self.reads)
        new = make_key(purpose)
        self.reads = reads
        self.rings[purpose] = StoredRing(active=new.id, keys=(*self.rings[purpose].keys, new))
        return new
