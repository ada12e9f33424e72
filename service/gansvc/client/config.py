"""Resolve where jobs go and are kept: by a flag, else the environment, else the profile in use."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gansvc.client.configfile import Config, Profile, address_fault, find, read
from gansvc.errors import SpecError
from gansvc.files import filesystems, homefolder
from gansvc.store.submissions import LOCAL, Destination, Setting

STORAGE = "~/gansvc-jobs"


def cluster(flag: str | None = None) -> Setting:
    """Return the cluster that jobs go to: ``local``, an address, or what else was named; a profile's name is resolved.

    Args:
        flag: what ``--cluster`` said.

    Raises:
        SpecError: a user or a password stands in the address, or the config file is damaged.
    """
    chosen, source = _first(("--cluster", flag), ("GANSVC_CLUSTER", os.environ.get("GANSVC_CLUSTER")))
    if fault := address_fault(chosen):
        raise SpecError(f"{source}: {fault}")
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

    Raises:
        SpecError: a key or a setting stands in the address, or the config file is damaged.
    """
    chosen, source = _first(("--storage", flag), ("GANSVC_STORAGE", os.environ.get("GANSVC_STORAGE")))
    if chosen:
        filesystems.refuse_secrets(chosen)
        return Setting(chosen, source)
    known = read()
    named = of_cluster or os.environ.get("GANSVC_CLUSTER") or known.profile
    name = named if named in known.profiles else known.profile
    return _of_profile(name, known.profiles.get(name, Profile()).storage, STORAGE)


def destination(cluster_flag: str | None = None, storage_flag: str | None = None) -> Destination:
    """Return where jobs go and where they are kept, by what ``--cluster`` and ``--storage`` said.

    Raises:
        SpecError: an address carries a secret, or the config file is damaged.
    """
    return Destination(cluster(cluster_flag), storage(storage_flag, cluster_flag))


def token_file(address: str) -> Setting:
    """Return the path of the file with the token of the cluster at an address; empty where a profile names none.

    A token belongs to its address: it is sent to no other, whatever profile is in use.
    """
    return _of_address(address, "token_file")


def ca_file(address: str) -> Setting:
    """Return the path of the certificates for the cluster at an address; empty where a profile names none."""
    return _of_address(address, "ca_file")


def settings(to: Destination) -> dict[str, Setting]:
    """Return where the config file is, the profile in use, and where jobs go and are kept."""
    known = read()
    return {
        "config file": Setting(str(find() or ""), "GANSVC_CONFIG" if os.environ.get("GANSVC_CONFIG") else "default"),
        "profile": Setting(known.profile, "config file" if "profile" in known.model_fields_set else "default"),
        **to._asdict(),
    }


def environment() -> dict[str, Setting]:
    """Return which variables reach the local cluster beside those that always do."""
    names = ", ".join(read().environment)
    return {"environment": Setting(names, "config file" if names else "default")}


def credentials(address: str) -> dict[str, Setting]:
    """Return the token and the certificates of a cluster; of the token only where it is read, never itself."""
    variables = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name)]
    token, bundle = token_file(address), os.environ.get("REQUESTS_CA_BUNDLE")
    if variables:
        token = Setting(
            "set, not shown" if variables[0] == "RAY_AUTH_TOKEN" else os.environ[variables[0]], variables[0]
        )
    authority = ca_file(address)
    if not authority.value and bundle:
        authority = Setting(bundle, "REQUESTS_CA_BUNDLE")
    return {"token": token, "certificates": authority}


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
            return Setting(str(homefolder.expand(value).absolute()), f"profile {name}")
    return Setting("", "default")
