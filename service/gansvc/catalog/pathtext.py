"""The type of a field that holds the path of a file or folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from gansvc.files import addresses
from gansvc.schema.explain import format_value, refusal


def _openable(path: str) -> str:
    if not path or "\0" in path:
        raise refusal(
            f"{format_value(path)} is no path (it is empty or holds a zero byte); give the path of a file or folder"
        )
    if addresses.forbidden_part(path) == addresses.CREDENTIAL:
        raise refusal("that is an address with a password or a key in it; give the path of a file or folder")
    return path


PathText = Annotated[str, AfterValidator(_openable)]
"""A path as text that the system can open: not empty, without a zero byte."""
