"""What an attacker on the path does, by the names of the attacks in matrix.toml."""

from pathlib import Path

from authority import Authority, self_signed
from on_path import (
    CBC,
    CLEARTEXT,
    NO_PASSWORD,
    NULL,
    TLS_1_0,
    TLS_1_1,
    TLS_1_2,
    WEAK,
    Behaviour,
    Impostor,
    Speaking,
    asking,
    passing,
    relaying,
    serving,
    stripping,
    without_binding,
)

# Of the servers that are imitated.
NAMES = ("localhost", "app.internal")

# What a server without TLS says first.
GREETINGS = {
    "database": CLEARTEXT,
    "cache": b"+OK\r\n",
    **dict.fromkeys(
        ("https", "gunicorn", "aws"), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    ),
}


def all_behaviours(ca: Authority, stranger: Authority, folder: Path) -> dict[str, Behaviour]:
    """Return them, with certificates made for them. `ca` is trusted, `stranger` is not."""
    good = ca.issue(folder / "good", *NAMES)
    good_rsa = ca.issue(folder / "rsa", *NAMES, is_rsa=True)
    another = stranger.issue(folder / "another", *NAMES)
    behaviours: dict[str, Behaviour] = {
        "wrong-ca": serving(another),
        "wrong-name": serving(ca.issue(folder / "name", "other.internal")),
        "expired": serving(ca.issue(folder / "expired", *NAMES, starts=-30, days=29)),
        "not-yet-valid": serving(ca.issue(folder / "early", *NAMES, starts=1)),
        "self-signed": serving(self_signed(folder / "self", *NAMES)),
        "no-trust": passing,
        "stripped": stripping,
        "tls-1-0": serving(good, good_rsa, version=TLS_1_0),
        "tls-1-1": serving(good, good_rsa, version=TLS_1_1),
        "tls-1-2": serving(good, good_rsa, version=TLS_1_2),
        "weak": serving(good, good_rsa, ciphers=WEAK),
        "null": serving(good, good_rsa, ciphers=NULL),
        "cbc": serving(good, good_rsa, ciphers=CBC),
        "relay": serving(another).and_(relaying),
        "stolen-key": serving(good).and_(relaying),
        "unbound": serving(good).and_(without_binding),
        "cleartext": serving(good).and_(asking(CLEARTEXT)),
        "no-password": serving(good).and_(asking(NO_PASSWORD)),
        "injected": Impostor(serving(good).context, before=NO_PASSWORD),
    }
    for server, words in GREETINGS.items():
        behaviours[f"plaintext {server}"] = Speaking(words)
    return behaviours
