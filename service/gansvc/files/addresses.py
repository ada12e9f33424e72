"""Find secrets in addresses of clusters, storages and mirrors: such addresses are neither shown nor kept."""

from __future__ import annotations

import re

CREDENTIAL = "a user, a password or a key"
SETTING = "a setting"
_STORES = ("s3", "gs", "gcs", "abfs", "abfss")
_AUTHORITY = re.compile(r"[^/?#\\]*")
_BRACKETS = re.compile(r"\[[^\]]*\]")


def forbidden_part(address: str) -> str:
    """Return what an address carries that doesn't belong into it, a secret or a setting; nothing where it is sound.

    A secret is refused as it is written, too: a key with a slash in it, which no parser would find. A path without
    ``://`` carries none. Azure's addresses are CONTAINER@ACCOUNT, gs://anonymous@BUCKET says that no one asks, and the
    names of Kubernetes' contexts may hold anything.
    """
    scheme, mark, rest = address.partition("://")
    scheme = scheme.strip().lower()
    if not mark or scheme == "k8s":
        return ""
    found = _AUTHORITY.match(rest)
    authority = _BRACKETS.sub("", found[0] if found else "")
    user, at, host = authority.rpartition("@")
    port = host.partition(":")[2]
    has_user = bool(at) and (":" in user or (scheme not in ("abfs", "abfss") and user != "anonymous"))
    # What stands after a colon and is no port is the beginning of a password; buckets have no port.
    if has_user or (port and (not port.isdecimal() or scheme in _STORES)):
        return CREDENTIAL
    if scheme in ("http", "https") and "@" in rest:
        return CREDENTIAL
    return SETTING if "?" in rest or "#" in rest else ""


def without_secrets(address: str) -> str:
    """Return an address with its scheme, its host and its path alone, for messages."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{re.split('[?#]', rest.rpartition('@')[2])[0]}"
