"""Read the grids of images that a report shows beside its figures, with their titles."""

from __future__ import annotations

from gansvc.catalog.labels import REAL
from gansvc.report import memorisation, numbers
from gansvc.report.alternatives import representative_seed
from gansvc.report.model import Column, Report
from gansvc.store import layout
from gansvc.store.audits import Audit
from gansvc.store.folder import Folder


def read_gallery(folder: Folder, report: Report) -> list[tuple[str, bytes]]:
    """Return the title and the grid of the real images, where they are there, then of each scored loss."""
    title, real = read_real_grid(folder, report)
    return ([(title, real)] if real is not None else []) + read_grids(folder, report)


def read_real_grid(folder: Folder, report: Report) -> tuple[str, bytes | None]:
    """Return the title and the grid of the real images, which made the noise floor."""
    by, floor = report.column(report.objective), report.noise_floor or {}
    value = f": {_measured(report, by)} {numbers.format_metric(by, floor[by.key])}" if by and by.key in floor else ""
    return f"real images{value}", (folder / layout.EVALUATION).read(layout.scored_grid(REAL))


def _measured(report: Report, by: Column) -> str:
    """Return what a picture's number is: ``KID on test``."""
    return f"{by.title} on {report.contract.reference_split}" if report.contract else by.title


def read_grids(folder: Folder, report: Report) -> list[tuple[str, bytes]]:
    """Return the title and the grid of each scored loss, from its seed nearest to its mean: no picking."""
    by = report.column(report.objective)
    found = []
    for row in report.leaderboard:
        seed = representative_seed(row, report.objective)
        if by is None or seed is None:
            continue
        grid = (folder / layout.EVALUATION).read(layout.scored_grid(layout.run_name(row.label, seed)))
        value = numbers.format_metric(by, row.metrics[by.key].values[seed])
        if grid is not None:
            found.append((f"{row.label}, seed {seed}: {_measured(report, by)} {value}", grid))
    return found


def read_pairs(folder: Folder, report: Report) -> list[tuple[Audit, bytes]]:
    """Return the audits that were made of each loss's best seed, with the picture of the closest pairs."""
    found = [
        (one, (folder / layout.EVALUATION).read(layout.pairs(layout.run_name(one.label, one.seed))))
        for one in memorisation.reported_audits(report)
    ]
    return [(one, grid) for one, grid in found if grid is not None]
