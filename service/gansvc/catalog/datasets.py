"""The data sets a job may name: what each holds, where its file comes from and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from gansvc.catalog import arrays, published
from gansvc.catalog.pathtext import PathText
from gansvc.errors import SpecError
from gansvc.files import homefolder
from gansvc.schema.explain import refusal
from gansvc.schema.section import Section, section_of

SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]
_QUICK = 64 * 2**20
"""Bytes of a file that takes a second or so to read."""


def floor_split(reference: str) -> Split:
    """Return the split whose real images make the noise floor: train, or test where train is the reference itself."""
    return "test" if reference == "train" else "train"


class Dataset(Section):
    """The data set of a job: ``retinamnist`` or ``{name: retinamnist, channels: 1, root: /data/medmnist}``."""

    name: str
    channels: Literal[1, 3] | None = None
    """1 turns colour into luma, 3 repeats grey; as stored if left out."""
    size: Annotated[int, Field(ge=8, le=1024)] = 28
    """Side of the images in pixels, one that the network takes: MedMNIST's own files at 28 and 64, else resized."""
    root: PathText | None = None
    """Folder that holds, or will hold, the downloaded files."""
    path: PathText | None = None
    """File of the data set ``npz``: MedMNIST's form, keys train_images, val_images, test_images (and _labels)."""

    @model_validator(mode="after")
    def _has_a_path_where_it_is_the_users_own(self) -> Dataset:
        if self.entry.takes_path != (self.path is not None):
            own = " or ".join(f"{{name: {name}}}" for name, entry in DATASETS.items() if entry.takes_path)
            text = f"{self.name} needs a path" if self.entry.takes_path else f"path goes with {own} only; use root"
            raise refusal(text)
        return self

    @property
    def title(self) -> str:
        """What the set is called for people: the user's own file by its name, without its folder."""
        return title(self.name, self.path)

    @property
    def entry(self) -> DatasetEntry:
        """The table's entry of this data set."""
        return DATASETS[self.name]

    def folder(self) -> Path:
        """Return the folder where the set's files are looked for."""
        return homefolder.expand(self.root or self.entry.default_root)

    def missing(self) -> str | None:
        """Return where the set's files were looked for and how to get them, or None when they are at hand."""
        return self.entry.missing(self)

    def files(self) -> tuple[Path, ...]:
        """Return the paths of the files that can be downloaded; none for a set that comes otherwise."""
        return self.entry.files(self)

    def read_if_quick(self) -> arrays.Arrays | None:
        """Return what the set holds, unless it isn't here or takes more than a second or two to read.

        The user's own is read whatever its size: nothing else knows its images.

        Raises:
            SpecError: the user's own has another form.
        """
        if self.path is not None:
            return None if self.missing() else self.entry.read(self)
        path = self.entry.npz(self)
        if path is None or not path.is_file():
            return None
        try:
            return arrays.read_npz(path) if path.stat().st_size < _QUICK else None
        except SpecError:  # a job finds out where it runs, and says how to mend it
            return None

    def out_channels(self) -> int | None:
        """Return the number of channels that images will have, or None where only the file knows."""
        return self.channels or self.entry.channels


def title(name: str, path: str | None = None) -> str:
    """Return what a data set is called for people: by its file, where it is the user's own, or else by its name."""
    return Path(path).stem or name if path else name


@dataclass(frozen=True)
class DatasetEntry:
    """What the table knows of a data set, and how it is read."""

    licence: str
    source: str
    read: Callable[[Dataset], arrays.Arrays]
    """Reads the files, downloading them first where that is possible; what it returns names the classes."""
    missing: Callable[[Dataset], str | None]
    """Returns where the files were looked for and how to get them, or None when they are at hand."""
    files: Callable[[Dataset], tuple[Path, ...]] = lambda dataset: ()
    """Returns the paths of the files that can be downloaded."""
    npz: Callable[[Dataset], Path | None] = lambda dataset: None
    """Returns the path of the one file in MedMNIST's form that holds the set; None where it is kept otherwise."""
    channels: int | None = None
    """Channels as stored; None where only the user's own file knows."""
    images: Mapping[str, int] = field(default_factory=dict)
    """Images per split; empty where only the user's own file knows."""
    sizes: tuple[int, ...] = ()
    """Sides of the images as stored, in pixels, rising; empty where only the user's own file knows."""
    classes: bool | None = None
    """Whether every image has one of several classes; None where only the user's own file knows."""
    takes_path: bool = False
    """Whether it is the user's own, at ``dataset.path``."""
    default_root: str = "~/.medmnist"
    downloads: bool = False
    """Whether a missing file is fetched by the job, where there is internet."""
    md5: str = ""
    """MD5 of MedMNIST's smallest file."""

    def stored_size(self, size: int) -> int:
        """Return the size of the images that are read for a size: the largest up to it, or else the smallest."""
        return max((side for side in self.sizes if side <= size), default=self.sizes[0])


def _medmnist(
    channels: int, train: int, val: int, test: int, md5: str, licence: str = "CC BY 4.0", classes: bool = True
) -> DatasetEntry:
    return DatasetEntry(
        channels=channels,
        images={"train": train, "val": val, "test": test},
        sizes=(28, 64),
        licence=licence,
        source="MedMNIST v2, https://zenodo.org/records/10519652",
        read=lambda d: published.read_medmnist(d.name, d.entry.stored_size(d.size), d.folder(), d.entry.md5),
        missing=lambda d: published.missing_medmnist(d.name, d.entry.stored_size(d.size), d.folder()),
        files=lambda d: (published.medmnist_file(d.name, d.entry.stored_size(d.size), d.folder()),),
        npz=lambda d: published.medmnist_file(d.name, d.entry.stored_size(d.size), d.folder()),
        md5=md5,
        classes=classes,
        downloads=True,
    )


DATASETS: dict[str, DatasetEntry] = {
    "histology": DatasetEntry(
        channels=3,
        images=arrays.histology_counts(),
        sizes=(arrays.TILE,),
        licence="CC0 (scikit-image's immunohistochemistry picture, A. Riedlinger)",
        source="28x28 tiles of scikit-image's picture of human colon tissue, in its wheel",
        read=lambda d: arrays.read_histology(),
        missing=lambda d: arrays.missing_histology(),
        classes=False,
    ),
    "mnist": DatasetEntry(
        channels=1,
        images={"train": 50_000, "val": 10_000, "test": 10_000},
        sizes=(28,),
        classes=True,
        licence="CC BY-SA 3.0",
        source="MNIST through torchvision; val is the last 10,000 images of its train part",
        read=lambda d: published.read_mnist(d.folder()),
        missing=lambda d: published.missing_mnist(d.folder()),
        files=lambda d: published.mnist_files(d.folder()),
        default_root="~/.cache/gansvc/mnist",
        downloads=True,
    ),
    "npz": DatasetEntry(
        licence="the user's own",
        source="the user's own file",
        read=lambda d: arrays.read_npz(Path(d.path or "")),
        missing=lambda d: arrays.missing_npz(Path(d.path or "")),
        takes_path=True,
    ),
    "bloodmnist": _medmnist(3, 11_959, 1_712, 3_421, "7053d0359d879ad8a5505303e11de1dc"),
    "breastmnist": _medmnist(1, 546, 78, 156, "750601b1f35ba3300ea97c75c52ff8f6"),
    # Its images have several labels each.
    "chestmnist": _medmnist(1, 78_468, 11_219, 22_433, "02c8a6516a18b556561a56cbdd36c4a8", classes=False),
    "dermamnist": _medmnist(3, 7_007, 1_003, 2_005, "0744692d530f8e62ec473284d019b0c7", "CC BY-NC 4.0"),
    "octmnist": _medmnist(1, 97_477, 10_832, 1_000, "c68d92d5b585d8d81f7112f81e2d0842"),
    "organamnist": _medmnist(1, 34_561, 6_491, 17_778, "68e3f8846a6bd62f0c9bf841c0d9eacc"),
    "organcmnist": _medmnist(1, 12_975, 2_392, 8_216, "b9ceb9546e10131b32923c5bbeaea2b1"),
    "organsmnist": _medmnist(1, 13_932, 2_452, 8_827, "9ab87b696fb54e2a387ebe992d6ed5f1"),
    "pathmnist": _medmnist(3, 89_996, 10_004, 7_180, "a8b06965200029087d5bd730944a56c1"),
    "pneumoniamnist": _medmnist(1, 4_708, 524, 624, "28209eda62fecd6e6a2d98b1501bb15f"),
    "retinamnist": _medmnist(3, 1_080, 120, 400, "bd4c0672f1bba3e3a89f0e4e876791e4"),
    "tissuemnist": _medmnist(1, 165_466, 23_640, 47_280, "ebe78ee8b05294063de985d821c1c34b"),
}

if TYPE_CHECKING:
    AnyDataset = Dataset
else:
    AnyDataset = Annotated[Dataset, section_of(DATASETS, "data set")]
