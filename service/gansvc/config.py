"""Where jobs go and where they are kept: a flag says it, else the environment, else the profile in use.

The config file holds profiles of clusters and never a token, only the path of a file with one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gansvc import explain, specfile
from gansvc.errors import SpecError, unknown_name
from gansvc.plainfiles import write_file

LOCAL = "local"
"""The cluster that gansvc starts on this machine."""
STORAGE = "~/gansvc-jobs"
_LIMIT = 64 * 1024
_SECRET = re.compile(r"https?://[^/?#]*@", re.IGNORECASE)
_REFUSED = "a user or a password stands in the address; give a token, by token_file or RAY_AUTH_TOKEN"
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


def _without_secret(address: str) -> str:
    """Return the address of a cluster; one with a user or a password would end up in job folders and logs."""
    if _SECRET.match(address):
        raise explain.refusal(_REFUSED)
    return address


class Profile(BaseModel):
    """One cluster: its address, where its jobs are kept, and what opens it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: Annotated[str, AfterValidator(_without_secret)] = ""
    """Address of its Jobs API, as https://HOST:8265."""
    storage: str = ""
    """Folder or URI of all jobs."""
    token_file: str = ""
    """Path of the file that holds the cluster's token."""
    ca_file: str = ""
    """Path of the certificates that its https is checked by; the machine's usual ones if left out."""


class Config(BaseModel):
    """The config file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = LOCAL
    """The profile in use; ``local`` is none."""
    profiles: dict[_Name, Profile] = {}


class Setting(NamedTuple):
    """A value and where it comes from."""

    value: str
    source: str


def path() -> Path:
    """Return the config file: GANSVC_CONFIG, or gansvc/config.yaml in XDG_CONFIG_HOME or ``~/.config``."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.environ.get("GANSVC_CONFIG") or f"{folder}/gansvc/config.yaml").expanduser().absolute()


def read() -> Config:
    """Return the config file's content, the defaults where there is none.

    Raises:
        SpecError: it can't be read, or holds something else.
    """
    data = _data()
    try:
        found = explain.validated(Config, data)
    except SpecError as error:
        raise SpecError("\n".join(f"{path()}: {line}" for line in str(error).splitlines())) from None
    if found.profile != LOCAL and found.profile not in found.profiles:
        raise SpecError(f"{path()}: profile: {unknown_name('profile', found.profile, [*found.profiles, LOCAL])}")
    return found


def cluster(flag: str | None = None) -> Setting:
    """Return the cluster that jobs go to: ``local``, an address, or what else was named; a profile's name is resolved.

    Args:
        flag: what ``--cluster`` said.

    Raises:
        SpecError: a user or a password stands in the address, or the config file is damaged.
    """
    chosen, source = _first(("--cluster", flag), ("GANSVC_CLUSTER", os.environ.get("GANSVC_CLUSTER")))
    if _SECRET.match(chosen):
        raise SpecError(f"{source}: {_REFUSED}")
    known = read()
    if chosen in known.profiles:
        return Setting(known.profiles[chosen].cluster or LOCAL, f"profile {chosen}, by {source}")
    profile = _in_use(known)
    return Setting(chosen, source) if chosen else _of_profile(known.profile, profile.cluster, LOCAL)


def storage(flag: str | None = None, of_cluster: str | None = None) -> Setting:
    """Return where jobs are kept.

    Args:
        flag: what ``--storage`` said.
        of_cluster: what ``--cluster`` said: the profile that it names brings its storage.
    """
    chosen, source = _first(("--storage", flag), ("GANSVC_STORAGE", os.environ.get("GANSVC_STORAGE")))
    if chosen:
        return Setting(chosen, source)
    known = read()
    named = of_cluster or os.environ.get("GANSVC_CLUSTER") or known.profile
    name = named if named in known.profiles else known.profile
    return _of_profile(name, known.profiles.get(name, Profile()).storage, STORAGE)


def token_file(address: str) -> Setting:
    """Return the path of the file with the token of the cluster at an address; empty where a profile names none.

    A token belongs to its address: it is sent to no other, whatever profile is in use.
    """
    return _of_address(address, "token_file")


def ca_file(address: str) -> Setting:
    """Return the path of the certificates for the cluster at an address; empty where a profile names none."""
    return _of_address(address, "ca_file")


def shown(cluster_flag: str | None = None, storage_flag: str | None = None) -> dict[str, Setting]:
    """Return what holds and where each value comes from; of a token only where it is read, never itself."""
    known, chosen = read(), cluster(cluster_flag)
    found = {
        "config file": Setting(str(path()), "GANSVC_CONFIG" if os.environ.get("GANSVC_CONFIG") else "default"),
        "profile": Setting(known.profile, "config file" if "profile" in known.model_fields_set else "default"),
        "cluster": chosen,
        "storage": storage(storage_flag, cluster_flag),
    }
    if chosen.value == LOCAL:
        return found
    variables = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name)]
    token, bundle = token_file(chosen.value), os.environ.get("REQUESTS_CA_BUNDLE")
    if variables:
        token = Setting(
            "set, not shown" if variables[0] == "RAY_AUTH_TOKEN" else os.environ[variables[0]], variables[0]
        )
    authority = ca_file(chosen.value)
    if not authority.value and bundle:
        authority = Setting(bundle, "REQUESTS_CA_BUNDLE")
    return found | {"token": token, "certificates": authority}


def change(key: str, value: str) -> Path:
    """Set ``profile``, or ``NAME.FIELD`` of a profile, in the config file; an empty value takes it out again.

    Returns:
        The path of the file.

    Raises:
        SpecError: there is no such key, the value doesn't fit, or the file can't be written.
    """
    read()
    data = _data()
    name, dot, field = key.partition(".")
    if dot:
        if field not in Profile.model_fields:
            raise SpecError(f"KEY: {unknown_name('field', field, Profile.model_fields)}")
        if name == LOCAL:
            raise SpecError("KEY: local is no profile but the cluster on this machine; give yours another name")
        profile = data.setdefault("profiles", {}).setdefault(name, {})
        profile[field] = value
        data["profiles"][name] = {known: text for known, text in profile.items() if text}
    elif key == "profile":
        data["profile"] = value or LOCAL
    else:
        raise SpecError(f"KEY: {key!r} can't be set; give profile, or NAME.cluster, NAME.storage, ...")
    found = explain.validated(Config, data)
    if found.profile not in (LOCAL, *found.profiles):
        raise SpecError(f"VALUE: {unknown_name('profile', found.profile, [*found.profiles, LOCAL])}")
    try:
        write_file(path(), specfile.dump_plain(data).encode())
    except OSError as error:
        raise SpecError(f"{path()} can't be written ({error.strerror}); set GANSVC_CONFIG to another file") from None
    return path()


def _data() -> dict[str, Any]:
    try:
        with path().open("rb") as file:
            raw = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{path()} can't be read ({reason}); mend it, or set GANSVC_CONFIG to another") from None
    if len(raw) > _LIMIT:
        raise SpecError(f"{path()} is larger than {_LIMIT // 1024} KiB; a config file is some lines of YAML")
    try:
        data = specfile.parse_value(raw.decode()) or {}
    except (SpecError, UnicodeDecodeError) as error:
        raise SpecError(f"{path()}: {error}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path()} is no mapping of profile and profiles; delete it, and use `gansvc config KEY VALUE`")
    return data


def _first(*places: tuple[str, str | None]) -> tuple[str, str]:
    return next(((value, name) for name, value in places if value), ("", ""))


def _in_use(known: Config) -> Profile:
    return known.profiles.get(known.profile, Profile())


def _of_profile(name: str, value: str, default: str) -> Setting:
    return Setting(value, f"profile {name}") if value else Setting(default, "default")


def _of_address(address: str, field: str) -> Setting:
    profiles: Mapping[str, Profile] = read().profiles
    for name, profile in profiles.items():
        if profile.cluster.rstrip("/") == address.rstrip("/") and (value := getattr(profile, field)):
            return Setting(str(Path(value).expanduser().absolute()), f"profile {name}")
    return Setting("", "default")
