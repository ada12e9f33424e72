"""Resolve a Jobs API's address, token and CA: those of that address and no other."""

from __future__ import annotations

import logging
import os
import ssl
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from gansvc.client import config, configfile
from gansvc.client.jobsapi import Target
from gansvc.errors import SpecError
from gansvc.files import homefolder


def resolve(url: str) -> Target:
    """Return the Jobs API at an address, with the token of Ray's own variables, or what the address's profile names.

    Raises:
        SpecError: that is no address, or a file that the profile names can't be read.
    """
    if fault := configfile.address_fault(url):
        raise SpecError(f"a cluster's address: {fault}")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SpecError(f"{url!r} is not a cluster; give local, an address like http://HOST:8265, or a profile's name")
    url, ca_file = url.rstrip("/"), config.ca_file(url).value
    if ca_file:
        _check_certificates(ca_file)
    target = Target(url, _token(url), ca_file)
    if target.token and not target.is_private():
        _warn_of_plain_token(url)
    return target


@cache
def _warn_of_plain_token(url: str) -> None:
    """Say once a process that a token can be read on its way; a command is one process."""
    text = "the token goes to %s unencrypted; use https, or a tunnel to it"
    logging.getLogger(__name__).warning(text, url)


def _token(url: str) -> str | None:
    """Return the token for a cluster elsewhere: the variable, the named file, the profile's file, Ray's usual file."""
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value.strip()
    path, named = os.environ.get("RAY_AUTH_TOKEN_PATH"), config.token_file(url)
    if not path and named.value:
        try:
            return Path(named.value).read_text().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SpecError(f"token_file ({named.source}): {named.value} can't be read ({reason}); mend it") from None
    if not path and os.environ.get("RAY_AUTH_MODE") != "token":
        return None
    try:
        return homefolder.expand(path or "~/.ray/auth_token").read_text().strip() or None
    except OSError:
        return None


def _check_certificates(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise SpecError(f"ca_file: {path} can't be used ({reason}); give the PEM file of the authority") from None
