"""Read files of torch.save that may be a stranger's: tensors alone, in no more memory than their bytes take.

torch's unpickler runs no code, but it inflates what a few bytes claim: deflated members, tensors that repeat one
number, ``bytearray(10**11)``. What torch itself writes has none of these, so they are refused before they are read.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

from gansvc.catalog import filekinds
from gansvc.errors import SpecError

_CALLS = re.compile(
    r"collections OrderedDict|torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
)
_MOST_OPERATIONS = 500_000
"""Of a pickle; a checkpoint has some ten thousand."""
_OLD_FORM = 5
"""Pickles at the beginning of a file in the form before torch 1.6."""
_END, _LOCATOR, _END_64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


def load(data: bytes) -> Any:
    """Return what a file that torch.save wrote holds: tensors and plain values.

    Raises:
        ValueError: it holds something else, or tensors larger than itself.
        Exception: torch's own errors on what is damaged or made up, of any kind.
    """
    import torch

    stream = io.BytesIO(data)
    if data[:4] == b"PK\x03\x04":
        _refuse_inflated(data)
        with zipfile.ZipFile(stream) as archive:
            for name in archive.namelist():
                if name.lower().endswith(".pkl"):
                    _refuse_calls(io.BytesIO(archive.read(name)), 1)
    else:
        _refuse_calls(io.BytesIO(data), _OLD_FORM)
    stream.seek(0)
    content = torch.load(stream, map_location="cpu", weights_only=True)
    _refuse_repeated(content, len(data))
    return content


def read_weights(weights: Path) -> dict[str, Any]:
    """Return the tensors of a weights file by their names; a file that holds anything else isn't unpickled.

    Raises:
        SpecError: it is no plain file of tensors.
    """
    import torch

    found = filekinds.kind(weights)
    if found not in ("", "a PyTorch file", "a zip archive", "a Python pickle", "a tar archive"):
        raise misfit(weights, f"it is {found}, not weights that PyTorch saved")
    try:
        state = load(weights.read_bytes())
    except Exception as error:  # a made-up file stumbles anywhere in torch's unpickler, which executes none of it
        raise misfit(weights, error) from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise misfit(weights, "it holds something other than tensors")
    return dict(state)


def misfit(weights: Path, reason: object) -> SpecError:
    """Return the error of a weights file that isn't the extractor's."""
    first = str(reason).strip().splitlines()[0] if str(reason).strip() else "it can't be read"
    return SpecError(
        f"evaluation.extractor.weights: {weights} doesn't fit this extractor ({first}); give the right file"
    )


def _refuse_inflated(data: bytes) -> None:
    """Refuse an archive whose members take more than its bytes, or whose directory two readers find in two places."""
    end = len(data) - 22
    size, start = struct.unpack_from("<II", data, end + 12)
    directory_end = end
    if data[end - 20 : end - 16] == _LOCATOR:
        directory_end = end - 76
        size, start = struct.unpack_from("<QQ", data, directory_end + 40)
        (told,) = struct.unpack_from("<Q", data, end - 12)
        if told != directory_end or data[told : told + 4] != _END_64:
            raise ValueError("its directory isn't where it says")
    if data[end : end + 4] != _END or start + size != directory_end:
        raise ValueError("its directory isn't where it says")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its members are compressed, which torch.save never does")
    if sum(member.file_size for member in members) > len(data):
        raise ValueError("its members claim to be larger than the file")


def _refuse_calls(stream: io.BytesIO, pickles: int) -> None:
    """Refuse a pickle that calls anything but what makes tensors of their bytes."""
    count = 0
    for _ in range(pickles):
        for operation, argument, _ in pickletools.genops(stream):
            count += 1
            if count > _MOST_OPERATIONS:
                raise ValueError("it holds more than tensors and a few values")
            if operation.name == "GLOBAL" and not _CALLS.fullmatch(str(argument)):
                raise ValueError(f"it asks for {str(argument)[:60]!r}, which makes no tensor of its bytes")


def _refuse_repeated(content: Any, size: int) -> None:
    """Refuse tensors that claim, together, more than the file and what it may share could hold."""
    import torch

    waiting, seen, claimed = [content], {id(content)}, 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            claimed += value.numel() * value.element_size()
        inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        for part in inner if isinstance(value, (dict, list, tuple)) else ():
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)
    if claimed > 2 * size:
        raise ValueError("its tensors repeat what it holds")
