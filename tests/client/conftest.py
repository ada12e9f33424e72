"""A user who has nothing but a number."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def nobody(tmp_path: Path) -> list[str]:
    """Return the beginning of a command that runs as a user without HOME and without an entry in the password file."""
    rights = "+dac_override,+dac_read_search"  # this installation may lie where that user can't look
    command = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    command += [f"--inh-caps={rights}", f"--ambient-caps={rights}", "env", "-i", f"PATH={os.environ['PATH']}"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("becoming another user needs root and setpriv")
    tmp_path.chmod(0o777)
    return command
