"""Open file systems by addresses without secrets, and retry operations after faults that may pass."""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from gansvc.errors import ClusterError, SpecError
from gansvc.files import addresses, patience

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_SLOWEST = 15.0
"""Seconds without a byte after which a request to S3 counts as lost."""

ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE"),
        *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "abfs": ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
}
"""Object storages, and the variables that say who asks and where."""
SETTINGS = (
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_DEFAULT_PROFILE", "AWS_CA_BUNDLE"),
    *("AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
    *("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT"),
    *("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE"),
    *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"),
)
"""Further variables that the storages' libraries read: files and services that say who asks."""
_KNOWN = "give a folder or an s3:// URI (or gs://, abfs://)"

# What S3 says when it is worth asking again: busy, down, or out of reach; a certificate that doesn't hold stays so.
_PASSING = re.compile(
    r"AWS Error (SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|THROTTLING|REQUEST_TIMEOUT)\b"
    r"|AWS Error NETWORK_CONNECTION\b(?!.*curlCode: (?:60|77)\b)"
    r"|\(HTTP status (408|429|500|502|503|504)\)",
    re.DOTALL,
)
_FIXES: tuple[tuple[str, str], ...] = (
    (r"NO_SUCH_BUCKET", "make the bucket, or correct --storage"),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301", "set AWS_REGION to the bucket's region"),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|HTTP status 40[013]|Token",
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what that key may do in the bucket",
    ),
    (r"HTTP status 507", "the storage is full: free space on it"),
    (r"AWS Error", "check AWS_ENDPOINT_URL, and that the storage is up"),
)
_LOCAL_FIXES = {
    errno.ENOSPC: "the disk is full: free space on it, or give another --storage",
    errno.EDQUOT: "your quota is used up: free space, or give another --storage",
    errno.EROFS: "it is mounted read-only: give a --storage that can be written",
    errno.EACCES: "you may not: give a --storage that you own, or mend its permissions",
    errno.EPERM: "you may not: give a --storage that you own, or mend its permissions",
}


def is_object_storage(uri: str) -> bool:
    """Return whether an address is one of an object storage rather than of a folder."""
    return "://" in uri and not uri.startswith("file://")


def credential_variables(uri: str) -> tuple[str, ...]:
    """Return the names of the variables that say who asks a storage and where; none for a folder."""
    return ENVIRONMENT.get(_scheme(uri), ())


def open_filesystem(uri: str) -> tuple[FileSystem, str]:
    """Return a URI's file system and the folder's path in it.

    Who asks, and S3's endpoint and region, come from the environment alone: an address ends up in logs and in the
    cluster's list of jobs.

    Raises:
        SpecError: there is no such storage, or the address carries a secret or a setting.
        ClusterError: S3 can't be asked for the bucket's region.
    """
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem, S3FileSystem

    refuse_secrets(uri)
    shown = f"storage {uri!r} can't be opened"
    try:
        system, root = with_retries(shown, lambda: FileSystem.from_uri(uri))
    except (ArrowException, FileNotFoundError, UnicodeError) as error:
        raise SpecError(f"{shown} ({error}); {_KNOWN}") from None
    if isinstance(system, S3FileSystem):
        system = _s3(system.region)
    return system, str(root).rstrip("/")


def with_retries(action: str, operation: Callable[[], T]) -> T:
    """Return what a storage answers; one that falters is asked again, with growing pauses, for two minutes.

    Args:
        action: the beginning of the error's sentence: the address, and what can't be done with it.
        ask: the question; it may be put several times.

    Raises:
        FileNotFoundError: what was asked for isn't there.
        ClusterError: the storage refuses, or falters for too long.
    """
    began, pause, told = time.monotonic(), _FIRST_PAUSE, False
    while True:
        try:
            return operation()
        except FileNotFoundError:
            raise
        except OSError as error:
            waited, reason = time.monotonic() - began, _reason(error)
            if not _PASSING.search(str(error)):
                raise ClusterError(f"{action} ({reason}); {_fix(error)}") from error
            if waited >= patience.STORAGE:
                raise ClusterError(f"{action}, tried for {waited:.0f} s ({reason}); {_fix(error)}") from error
            if not told:
                logging.getLogger(__name__).warning("%s (%s); trying for %.0f s", action, reason, patience.STORAGE)
                told = True
        # Unlike pauses, or all workers would come back at the same moment.
        time.sleep(min(pause * random.uniform(0.5, 1), patience.STORAGE - waited))  # noqa: S311
        pause = min(2 * pause, _SLOWEST)


def refuse_secrets(uri: str) -> None:
    """Refuse addresses that pyarrow would take and that don't belong into one; a secret isn't repeated.

    Raises:
        SpecError: there is no such storage, or the address carries a secret or a setting.
    """
    if "://" not in uri:
        return
    scheme = _scheme(uri)
    if what := addresses.forbidden_part(uri):
        shown, names = addresses.without_secrets(uri), ", ".join(ENVIRONMENT.get(scheme, ENVIRONMENT["s3"]))
        raise SpecError(f"storage {shown!r}: {what} stands in the address; give it by the environment ({names})")
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        raise SpecError(f"storage: that is no address; {_KNOWN}") from None
    if scheme not in ("file", *ENVIRONMENT):
        raise SpecError(f"storage {uri!r}: {parts.scheme}:// is no storage that gansvc knows; {_KNOWN}")
    if scheme == "s3" and not host:
        raise SpecError(f"storage {uri!r} names no bucket; give s3://BUCKET/FOLDER")


def _scheme(uri: str) -> str:
    scheme = uri.partition("://")[0].lower() if "://" in uri else ""
    return {"gcs": "gs", "abfss": "abfs"}.get(scheme, scheme)


def _s3(region: str) -> FileSystem:
    """Return S3 as the environment describes it.

    Small files go up in one request instead of three. The patience is this module's: pyarrow's own would ask every
    200 ms, and wait for a server that is silent for minutes.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    return S3FileSystem(
        region=region or None,
        endpoint_override=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None,
        allow_delayed_open=True,
        request_timeout=_SLOWEST,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )


def _reason(error: OSError) -> str:
    """Return what went wrong without pyarrow's frame, which names the file a second time."""
    if error.errno is not None:
        return f"{errno.errorcode.get(error.errno, 'OSError')}: {os.strerror(error.errno)}"
    text = " ".join(str(error).split())
    return text[text.find("AWS Error") :] if "AWS Error" in text else text


def _fix(error: OSError) -> str:
    if error.errno is not None:
        return _LOCAL_FIXES.get(error.errno, "check the folder")
    return next((fix for pattern, fix in _FIXES if re.search(pattern, str(error))), "check the folder")
