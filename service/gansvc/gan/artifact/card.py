"""Model card for people: README.md of the model folder, from model.json."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files

from gansvc.catalog.metrics import METRICS
from gansvc.escapes import printable
from gansvc.gan.modelfolder import ModelCard
from gansvc.spec import jobfile
from gansvc.store.scores import Score


def readme(card: ModelCard, forms: Collection[str]) -> str:
    """Return the card as Markdown; ``forms`` are the names of the files that need no gansvc."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701 - it is Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(files("gansvc.gan.artifact").joinpath("card.md.j2").read_text(encoding="utf-8"))
    text = template.render(
        card=card,
        scores=_scores(card.score) if card.score else [],
        contract=card.score.contract.fields() if card.score else {},
        spec_yaml=jobfile.dump_plain(card.spec),
        forms=forms,
    )
    return printable(text, keep="\n")


def _scores(score: Score) -> list[tuple[str, str, str]]:
    """Return the name, the value with its deviation, and the better direction of each metric."""
    better = {column.key: column.better for metric in METRICS.values() for column in metric.columns}
    found = []
    for name, value in score.metrics.items():
        if not name.endswith("_std"):
            spread = score.metrics.get(f"{name}_std")
            found.append(
                (name, f"{value:.4g}" + (f" ± {spread:.2g}" if spread is not None else ""), better.get(name, ""))
            )
    return found
