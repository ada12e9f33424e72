"""Expand ``~``: not every user has a home folder; a container's may have neither HOME nor an entry in passwd."""

from __future__ import annotations

from pathlib import Path

from gansvc.errors import SpecError


def expand(path: str | Path) -> Path:
    """Return a path with its ``~`` as the home folder that it stands for.

    Raises:
        SpecError: that folder isn't known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        whose = "" if str(path).split("/")[0] == "~" else f" of {str(path).split('/')[0][1:]}"
        raise SpecError(
            f"{str(path)!r}: no home folder{whose} is known here; set HOME, or give folders of your own "
            "by GANSVC_HOME and GANSVC_STORAGE"
        ) from None
