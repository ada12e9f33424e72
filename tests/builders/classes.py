"""Made job folders whose classes were audited: what a data set's own classifier saw in the images of each loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.audits import Audit, Classes
from gansvc.store.folder import Folder
from gansvc.store.scores import Score

from .jobs import CONTRACT

KID = {"lsgan": (0.06, 0.05), "wgan": (0.02, 0.04), "wgan-gp": (0.03, 0.05), "hinge": (0.30, 0.20)}
DOMAIN_KID = {"lsgan": (0.9, 0.7), "wgan": (0.5, 0.6), "wgan-gp": (0.4, 0.5), "hinge": (1.0, 3.0)}


def make_spec() -> JobSpec:
    data = {"name": "a", "dataset": "breastmnist", "losses": list(KID), "training": {"seeds": [0, 1]}}
    return jobfile.validate(data | {"evaluation": {"extractor": "efficientnet-lite0", "samples": 2000}})


def make_classes(kid: float, inception_score: float, seen: float, **changes: Any) -> Classes:
    found = Classes(
        **{"images": 2000, "accuracy": 0.83, "majority": 0.73, "train": (0.27, 0.73), "heldout": (0.2, 0.8)},
        **{"seen": (seen, 1 - seen), "distance": abs(seen - 0.2)},
        metrics={"is": inception_score, "is_std": 0.1, "kid": kid, "kid_std": 0.1},
    )
    return found.model_copy(update=changes)


def make_job(path: Path) -> Folder:
    """Make a job of four losses whose order by the classifier is another one than by the extractor."""
    folder, about = Folder(path / "a-1"), {"step": 5, "extractor": "efficientnet-lite0"}
    for label, values in KID.items():
        for seed, kid in enumerate(values):
            metrics = {"kid": kid, "is": 2 - kid, "is_std": 0.1}
            score = Score(label=label, seed=seed, step=5, metrics=metrics, contract=CONTRACT, seconds=1)
            seen = make_classes(DOMAIN_KID[label][seed], 1 + kid, 0.1 + 0.2 * seed)
            folder.write_record(f"evaluation/{label}-seed{seed}.json", score)
            folder.write_record(
                f"evaluation/{label}-seed{seed}.audit.json", Audit(label=label, seed=seed, classes=seen, **about)
            )
    real = Audit(label="real", seed=0, classes=make_classes(0.0123, 1.5, 0.25), **about)
    folder.write_record("evaluation/real.audit.json", real)
    return folder
