"""The config file: profiles of clusters; of a token only the path of its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gansvc.errors import SpecError, unknown_name
from gansvc.files import addresses, filesystems, homefolder
from gansvc.files.plainfiles import write_file
from gansvc.schema import explain
from gansvc.spec import jobfile
from gansvc.store.submissions import LOCAL

NO_PROFILE = LOCAL
"""What the config file has in place of a profile's name, where none is in use."""

_LIMIT = 64 * 1024
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


def _without_secret(address: str) -> str:
    """Return the address of a cluster; one with a user or a password would end up in job folders and logs."""
    if fault := address_fault(address):
        raise explain.refusal(fault)
    return address


def _without_key(uri: str) -> str:
    """Return the address of a storage; a key in it would end up in the config file, in manifests and in logs."""
    try:
        filesystems.refuse_secrets(uri)
    except SpecError as error:
        raise explain.refusal(str(error)) from None
    return uri


class Profile(BaseModel):
    """One cluster: its address, where its jobs are kept, and what opens it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: Annotated[str, AfterValidator(_without_secret)] = ""
    """Address of its Jobs API, as https://HOST:8265."""
    storage: Annotated[str, AfterValidator(_without_key)] = ""
    """Folder or URI of all jobs."""
    token_file: str = ""
    """Path of the file that holds the cluster's token."""
    ca_file: str = ""
    """Path of the certificates that its https is checked by; the machine's usual ones if left out."""


class Config(BaseModel):
    """The config file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = NO_PROFILE
    """The profile in use; ``local`` is none."""
    profiles: dict[_Name, Profile] = {}
    environment: tuple[_Variable, ...] = ()
    """Names of variables that reach the local cluster beside those that always do, as NCCL_P2P_DISABLE."""


def path() -> Path:
    """Return the config file: GANSVC_CONFIG, or gansvc/config.yaml in XDG_CONFIG_HOME or ``~/.config``.

    Raises:
        SpecError: the home folder isn't known.
    """
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return homefolder.expand(os.environ.get("GANSVC_CONFIG") or f"{folder}/gansvc/config.yaml").absolute()


def read() -> Config:
    """Return the config file's content, the defaults where there is none.

    Raises:
        SpecError: it can't be read, or holds something else.
    """
    data = _data()
    try:
        found = explain.validate(Config, data)
    except SpecError as error:
        raise SpecError("\n".join(f"{path()}: {line}" for line in str(error).splitlines())) from None
    if found.profile != NO_PROFILE and found.profile not in found.profiles:
        raise SpecError(f"{path()}: profile: {unknown_name('profile', found.profile, [*found.profiles, NO_PROFILE])}")
    return found


def address_fault(cluster: str) -> str:
    """Return why the address of a cluster is refused: what it carries, unrepeated; nothing where it is sound."""
    # One without a scheme is none, and would be repeated in that message.
    what = addresses.forbidden_part(cluster) or ("@" in cluster and "://" not in cluster and addresses.CREDENTIAL)
    return f"{what} stands in the address; give a token, by token_file or RAY_AUTH_TOKEN" if what else ""


def change(key: str, value: str) -> Path:
    """Set ``profile``, ``environment`` or a profile's ``NAME.FIELD`` in the config file; an empty value takes it out.

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
        if name == NO_PROFILE:
            raise SpecError("KEY: local is no profile but the cluster on this machine; give yours another name")
        profile = data.setdefault("profiles", {}).setdefault(name, {})
        profile[field] = value
        data["profiles"][name] = {known: text for known, text in profile.items() if text}
    elif key == "profile":
        data["profile"] = value or NO_PROFILE
    elif key == "environment":
        data["environment"] = value.replace(",", " ").split()
    else:
        raise SpecError(f"KEY: {key!r} can't be set; give profile, environment, or NAME.cluster, NAME.storage, ...")
    found = explain.validate(Config, data)
    if found.profile not in (NO_PROFILE, *found.profiles):
        raise SpecError(f"VALUE: {unknown_name('profile', found.profile, [*found.profiles, NO_PROFILE])}")
    try:
        write_file(path(), jobfile.dump_plain(data).encode())
    except OSError as error:
        raise SpecError(f"{path()} can't be written ({error.strerror}); set GANSVC_CONFIG to another file") from None
    return path()


def find() -> Path | None:
    """Return the config file's path, or None for a user without a home folder: there can't be one in it."""
    try:
        return path()
    except SpecError:
        return None


def _data() -> dict[str, Any]:
    found = find()
    if found is None:
        return {}
    try:
        with found.open("rb") as opened:
            raw = opened.read(_LIMIT + 1)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{found} can't be read ({reason}); mend it, or set GANSVC_CONFIG to another") from None
    if len(raw) > _LIMIT:
        raise SpecError(f"{found} is larger than {_LIMIT // 1024} KiB; a config file is some lines of YAML")
    try:
        data = jobfile.parse_value(raw.decode()) or {}
    except (SpecError, UnicodeDecodeError) as error:
        raise SpecError(f"{found}: {error}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{found} is no mapping of profile and profiles; delete it, and use `gansvc config KEY VALUE`")
    return data
