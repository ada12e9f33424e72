"""The data set in a report: facts that the job's driver recorded, notes and warnings."""

from __future__ import annotations

from gansvc.catalog import duplicates
from gansvc.catalog.classes import list_names
from gansvc.schema.bounded import Count, Few, Table, Text
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import DataRecord, Record


class DatasetFacts(Record):
    """What the job trained on."""

    name: Text
    images: Table[Count]
    """Images per split; empty in reports of earlier versions where the user's own file wasn't at hand."""
    channels: Count | None
    size: Count
    """Side of the images, pixels."""
    licence: Text
    source: Text
    classes: Few[Text] = ()
    """What the classes are called, by number; empty where there are none, and in reports of earlier versions."""
    no_classes: Text = ""
    """Why there are none, as the end of a sentence."""
    duplicates: Table[Table[Count]] | None = None
    """Split to another split to how many of its images also stand there; None in reports of earlier versions."""
    largest: Count = 255
    """Largest pixel value of the training images, 0 to 255."""


def facts(folder: Folder, spec: JobSpec) -> DatasetFacts:
    """Return what a job trained on; the user's own file isn't read, as it may hold other images by now.

    Raises:
        ClusterError: data.json is damaged.
    """
    read = folder.read_record(layout.DATA, DataRecord)
    return DatasetFacts(
        name=spec.dataset.title,
        images=read.images if read else spec.dataset.entry.images,
        channels=read.channels if read else spec.dataset.out_channels(),
        size=spec.dataset.size,
        licence=spec.dataset.entry.licence,
        source=spec.dataset.entry.source,
        classes=read.classes if read else (),
        no_classes=read.no_classes if read else "",
        duplicates=read.duplicates if read else None,
        largest=read.largest if read else 255,
    )


def notes(dataset: DatasetFacts) -> list[str]:
    """Return what is known of duplicates and classes, in a few words each; nothing in reports of earlier versions."""
    if dataset.duplicates is None:
        return []
    named = f"classes {list_names(dataset.classes)}" if dataset.classes else f"no classes ({dataset.no_classes})"
    return [duplicates.summary(dataset.duplicates), named]


def warnings(dataset: DatasetFacts) -> list[str]:
    """Return one warning for each pair of splits that share images, and one where all images are black."""
    dark = (
        f"no pixel of the training images is above {dataset.largest} of 255, so all of them are black: values from 0 "
        "to 1 must be multiplied by 255 before they become bytes"
    )
    return [*duplicates.sentences(dataset.duplicates or {}, dataset.images), *([dark] if dataset.largest <= 1 else [])]
