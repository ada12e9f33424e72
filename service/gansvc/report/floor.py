"""The noise floor in a report: what real images score, and where that is no goal for a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gansvc.catalog import metrics
from gansvc.catalog.datasets import floor_split
from gansvc.report import numbers
from gansvc.report.model import Column, Report, Row
from gansvc.store.scores import Contract

FEW_IMAGES = 1_000
"""Images of a split below which a floor that can't be trusted is put down to them: KID's usual subset."""
UNLIKE_SPLITS = 3
"""Deviations over its subsets above which the floor's KID, about 0 between like splits, says that they are unlike."""


def doubts(
    floor: Mapping[str, float] | None,
    images: int | None,
    columns: Sequence[Column],
    rows: Sequence[Row],
    contract: Contract | None,
) -> dict[str, str]:
    """Return why the floor can't be trusted, by the key of each column in which some loss's mean is better than it.

    Args:
        floor: the metrics of real images; None where they weren't scored.
        images: how many these are.
        columns: the leaderboard's columns.
        rows: its rows.
        contract: what the losses' scores share.
    """
    found = {}
    for column in columns:
        means = {row.label: row.metrics[column.key].mean for row in rows if column.key in row.metrics}
        if floor is None or contract is None or column.key not in floor or not means:
            continue
        label = (min if column.better == "lower" else max)(means, key=means.__getitem__)
        sign = 1 if column.better == "lower" else -1
        if sign * means[label] < sign * floor[column.key]:
            real, loss = numbers.format_metric(column, floor[column.key]), numbers.format_metric(column, means[label])
            values = f"real {floor_split(contract.reference_split)} images {real}, {label} {loss}"
            why = ", ".join(_reasons(column.key, floor, means[label], images or 0, contract))
            found[column.key] = f"{values}: {why}" if why else values
    return found


def warnings(doubts: Mapping[str, str]) -> tuple[str, ...]:
    """Return one warning for each column in which the floor can't be trusted."""
    return tuple(
        f"the noise floor can't be trusted for {numbers.metric_title(key)}: {why}" for key, why in doubts.items()
    )


def meaning(report: Report) -> str:
    """Return what the floor means, as the end of the sentence that says what it is, and where it can't be trusted."""
    trusted = [
        c.title for c in report.columns if c.key in (report.noise_floor or {}) and c.key not in report.floor_doubts
    ]
    said = ": what a perfect generator could hope for" if trusted else ""
    said += f" in {numbers.join_words(trusted)}" if trusted and report.floor_doubts else ""
    marked = (
        f" ‡ It can't be trusted for {numbers.metric_title(key)} ({why})." for key, why in report.floor_doubts.items()
    )
    return f"{said}.{''.join(marked)}"


def headline_clause(
    rows: Sequence[Row], by: Column, floor: Mapping[str, float] | None, doubts: Mapping[str, str]
) -> str:
    """Return what a headline says of the floor after the first loss's mean, with its comma; nothing without a floor."""
    if floor is None or by.key not in floor or not rows or by.key not in rows[0].metrics:
        return ""
    mean, value = rows[0].metrics[by.key].mean, floor[by.key]
    written = numbers.format_metric(by, value)
    if by.key in doubts:
        return f", where the noise floor ({written}) can't be trusted"
    # KID's estimate can fall to 0 or below it, and a floor above the scores' direction has no useful ratio.
    if by.better == "higher" or round(value, by.decimals) <= 0 or mean <= 0:
        return f", where the noise floor is {written}"
    return f", {mean / value:.1f} times the noise floor ({written})"


def _reasons(key: str, floor: Mapping[str, float], mean: float, images: int, contract: Contract) -> list[str]:
    """Return what the numbers at hand say of a floor that is worse than a loss's mean."""
    split, reference, found = floor_split(contract.reference_split), contract.reference_split, []
    column = metrics.column(key)
    if min(images, contract.reference_images) < FEW_IMAGES:
        found.append(f"few images ({images} of {split} against {contract.reference_images} of {reference})")
    kid, deviation = floor.get("kid"), floor.get("kid_std")
    if kid is not None and deviation and kid > UNLIKE_SPLITS * deviation:
        found.append(f"unlike splits (KID between {split} and {reference} is {kid:.4f}, of like ones about 0)")
    if column and column.improves_with_samples and images < contract.samples:
        found.append(f"fewer images than the losses' {contract.samples}")
    if reference == "train":
        found.append(f"the losses were trained on the reference, the real {split} images aren't in it")
    if abs(floor[key] - mean) < floor.get(f"{key}_std", 0.0):
        found.append(f"a difference within the floor's own deviation ({floor[f'{key}_std']:.2g})")
    return [*found, *([column.floor_note] if column and column.floor_note else [])]
