"""The wheel holds all that the editable install has, and gives the command."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("gansvc-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("gansvc/")}
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "gansvc = gansvc.cli.app:main" in archive.read(entry).decode()
    package = ROOT / "service" / "gansvc"
    ours = {path for path in package.rglob("*") if path.is_file() and path.suffix in (".py", ".yaml", ".j2")}
    assert held >= {f"gansvc/{path.relative_to(package).as_posix()}" for path in ours} and len(ours) > 30
