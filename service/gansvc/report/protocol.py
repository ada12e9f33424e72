"""The protocol in a report: data, networks, budget, selection, the scores' contract, and how to run the job again."""

from __future__ import annotations

from gansvc.report import dataset, numbers
from gansvc.report.document import Block, Bullets, Code, Paragraph, Section, escape
from gansvc.report.model import Report, Versions
from gansvc.report.tables import Column, Row, Table, plain
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec, Training
from gansvc.store.scores import Contract

_DIVERSITY = (
    "Diversity, in the live view and where a run's mode collapse is named: how widely the features of generated images "
    "spread, as a share of real validation images' spread; near 0 all images are alike, about 1 they are as unlike as "
    "real ones."
)


def section(report: Report, spec: JobSpec | None) -> Section:
    """Return data, networks, budget, selection and judgement; without a spec only what the report itself holds."""
    said = [_data(report)]
    if spec is not None:
        said += [_networks(spec), _selection(report, spec)]
    said.append(_DIVERSITY)
    if spec is not None:
        said.append(_judgement(spec))
    blocks: list[Block] = [Bullets(tuple(said))]
    if report.contract is not None:
        own = "; the noise floor alone has its own sample count" if report.noise_floor is not None else ""
        blocks += [Paragraph(f"All scores share this contract{own}:"), contract_table(report.contract)]
    return Section("Protocol", tuple(blocks))


def run_again(report: Report, spec: JobSpec | None) -> Section:
    """Return what the job was run by, and its spec; one that this version can't read is shown as it is."""
    versions = report.versions
    commit = f" at commit {escape(versions.commit)}" if versions.commit else ""
    said = (
        "The resolved spec is the job folder's job.yaml: `gansvc submit job.yaml`. It was run by gansvc "
        f"{escape(versions.gansvc or numbers.MISSING)}{commit} with {software(versions)}; the hashes of the "
        "extractor's weights and of the reference images stand in the [contract](#protocol)."
    )
    blocks: list[Block] = [Paragraph(said)]
    if spec is None:
        blocks.append(Paragraph("Another version of gansvc wrote this spec, which this one can't read:"))
    blocks.append(Code(jobfile.dump_plain(report.spec) if spec is None else jobfile.dump(spec), "yaml"))
    return Section("Run it again", tuple(blocks))


def software(versions: Versions) -> str:
    """Return the versions of what gansvc ran on."""
    torch, ray = (escape(version or numbers.MISSING) for version in (versions.torch, versions.ray))
    return f"torch {torch}, Ray {ray} and Python {escape(versions.python)}"


def contract_table(contract: Contract) -> Table:
    """Return the fields of a contract."""
    columns = (Column("contract", is_text=True), Column("value", is_text=True))
    return Table(columns, tuple(Row(plain(name, value)) for name, value in contract.fields().items()))


def _data(report: Report) -> str:
    data, notes = report.dataset, dataset.notes(report.dataset)
    channels = "channels as in the file"
    if data.channels:
        channels = numbers.pluralise(data.channels, "channel")
    images = ", ".join(f"{escape(split)} {numbers.format_count(count)}" for split, count in data.images.items())
    facts = [channels, *([images] if images else []), *map(escape, notes)]
    # Without notes the licence follows the numbers of images after a comma.
    last = ", " if images and not notes else "; "
    return (
        f"Data: {escape(data.name)}, {data.size}x{data.size} pixels, {'; '.join(facts)}{last}"
        f"licence {escape(data.licence)}; {escape(data.source)}."
    )


def _networks(spec: JobSpec) -> str:
    training = spec.training
    rates = "constant" if training.decay == "none" else f"falling to zero ({training.decay})"
    return (
        f"Networks: {spec.network.name}, the same for every loss. Budget of a run: {_budget(training)}, global batch "
        f"{training.batch_size}, {training.precision}, learning rates {rates}, augmentation "
        f"{', '.join(training.augment) or 'none'}, EMA {training.ema}, seeds {', '.join(map(str, training.seeds))}."
    )


def _budget(training: Training) -> str:
    images = numbers.format_count(training.images)
    said = f"{training.epochs} epochs of the critic" if training.images is None else f"{images} images of the critic"
    if training.patience is not None:
        said += f", ended after {training.patience} evaluations without a better score"
    return said


def _selection(report: Report, spec: JobSpec) -> str:
    samples = spec.evaluation.validation_samples
    images = numbers.format_count(min(samples, report.dataset.images.get("val", samples)))
    metric = escape(numbers.metric_title(report.validation_metric))
    return (
        f"Selection: checkpoints{' and trials' if report.trials else ''} are chosen by {metric} of {images} generated "
        "images against as many of the val split."
    )


def _judgement(spec: JobSpec) -> str:
    reference = spec.evaluation.reference
    seen = "which it was also trained on" if reference == "train" else "which nothing was chosen by"
    return (
        f"Judgement: the chosen checkpoint of each run is scored on {numbers.format_count(spec.evaluation.samples)} "
        f"generated images against the {reference} split, {seen}."
    )
