"""A report as a document: which sections it has, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gansvc.report import (
    alternatives,
    classes,
    leaderboard,
    memorisation,
    numbers,
    protocol,
    published,
    runs,
    searching,
    spending,
    usefulness,
)
from gansvc.report.document import Document, Paragraph, Picture, Section, bullets, escape
from gansvc.report.model import Report

_CURVES = (
    "Mean D(real) - mean D(fake) estimates the Wasserstein distance up to a factor for the Wasserstein losses and is "
    "only a gap for the others, so its height doesn't compare between losses."
)


def document(report: Report, figures: Sequence[str]) -> Document:
    """Return a report as a document.

    Args:
        report: the report; a spec of another version, which can't be read, costs only what is read from it.
        figures: names of the pictures in report/figures/ that it shows.
    """
    spec, pictures = report.parsed_spec(), alternatives.describe_figures(report, figures)
    sections = (
        leaderboard.section(report),
        _samples(pictures),
        _warnings(report),
        memorisation.section(report, pictures),
        classes.section(report),
        usefulness.section(report, spec, pictures),
        _curves(report, pictures),
        searching.section(report, spec, pictures),
        spending.section(report, pictures),
        runs.section(report),
        published.section(report),
        protocol.section(report, spec),
        protocol.run_again(report, spec),
    )
    return Document(
        title=f"{report.name}: which GAN loss?",
        headline=report.headline,
        origin=_origin(report),
        sections=tuple(section for section in sections if section is not None),
    )


def _origin(report: Report) -> str:
    versions, count = report.versions, len(report.warnings)
    said = (
        f"Job {escape(report.job)}, report of {report.created:%Y-%m-%d %H:%M} UTC, by gansvc "
        f"{escape(versions.gansvc or numbers.MISSING)} with {protocol.software(versions)}."
    )
    if count:
        verb = "is" if count == 1 else "are"
        said += f"\nThere {verb} {numbers.pluralise(count, 'warning')}: see [Warnings](#warnings)."
    return said


def _samples(pictures: Mapping[str, Picture]) -> Section | None:
    if "samples.png" not in pictures:
        return None
    return Section(
        "Samples", (pictures["samples.png"], Paragraph("Each loss is shown by its seed nearest to its mean."))
    )


def _warnings(report: Report) -> Section:
    return Section("Warnings", (bullets(report.warnings, stop="") if report.warnings else Paragraph("None."),))


def _curves(report: Report, pictures: Mapping[str, Picture]) -> Section | None:
    names = (f"{report.validation_metric}.png", "losses.png", "wasserstein.png", "terms.png")
    shown = [pictures[name] for name in names if name in pictures]
    return Section("Training curves", (*shown, Paragraph(_CURVES))) if shown else None
