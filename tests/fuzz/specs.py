"""Job files: a plain one, any valid one, and pieces of text that YAML makes something of."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gansvc.catalog.augments import AUGMENTS
from gansvc.catalog.datasets import DATASETS
from gansvc.catalog.extractors import EXTRACTORS
from gansvc.catalog.losses import LOSSES
from gansvc.catalog.metrics import METRICS
from gansvc.catalog.networks import NETWORKS

JOB: dict[str, Any] = {"name": "a", "dataset": "histology", "losses": ["lsgan"]}
CLUSTER: dict[str, Any] = {
    "image": "registry.example.com/gansvc:0.1.0",
    "volume": "jobs",
    "workers": 2,
    "max_workers": 3,
    "head": {"cpus": 2, "memory": "8Gi"},
    "node_selector": {"a/b": "c"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "pull_secrets": ["registry"],
}
TOKENS = (
    *("- ", "? ", ": ", "a: ", "[", "]", "{", "}", ",", "[],", "{a: b},", "'", '"', "|\n", ">\n", "#", "\n", "\t", " "),
    *("&a ", "*a ", "!!int ", "!!float ", "!!timestamp ", "!!bool ", "!!null ", "!!set ", "!x ", "! ", "<<: ", "---\n"),
    *("...\n", "%YAML 1.1\n", "%TAG ! !\n", "~", "=", "@", "`", "name", "losses", "lsgan", "dataset: histology\n"),
    *("1e999", "-.inf", ".nan", "0x1f", "1:30", "2024-13-45", "\\x1b", '"\\ud800"', '"\\e[31m"', "\x85", "\ufeff", "é"),
    *(
        "a: 1\n",
        " a:\n",
        "1,",
        "a, ",
        "?,",
        "? a\n",
        "[[",
        "{{",
        "'',",
        "!!binary ",
        "!!python/object/apply:os.system ",
    ),
)

seeds = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4, unique=True)
rates = st.floats(1e-12, 1)
words = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
    st.sampled_from(("1e5", "0e0", "1", "010", "0x1f", "0o7", "null", "true", "no", "y")),
)
plain_texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.sampled_from(("\x85", "a\x85b", "\u2028", "\ufeff", " ", "null", "1", "~", "\r\n", "-", "'", "#", "y")),
)
paths = plain_texts.filter(lambda text: "\0" not in text)


@st.composite
def losses(draw: st.DrawFn) -> list[Any]:
    labels = draw(st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True), max_size=4, unique=True))
    own = {"betas": st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)).map(list), "generator_lr": rates}
    own |= {"critic_lr": rates, "n_critic": st.integers(1, 100), "optimizer": st.sampled_from(("adam", "rmsprop"))}
    names = st.sampled_from(sorted(LOSSES))
    found: list[Any] = [
        {"name": draw(names), "label": x, **draw(st.fixed_dictionaries({}, optional=own))} for x in labels
    ]
    short = draw(names)
    return found if short in labels else [*found, short]


@st.composite
def valid(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the data of a valid spec."""
    pair, size = draw(st.sampled_from([(name, size) for name, pair in NETWORKS.items() for size in pair.sizes]))
    dataset = st.one_of(
        st.sampled_from([{"name": name} for name in sorted(DATASETS) if name != "npz"]),
        st.builds(lambda root: {"name": "retinamnist", "channels": 1, "root": root}, paths),
        st.builds(lambda path: {"name": "npz", "path": path, "channels": 3}, paths),
    ).map(lambda data: data | {"size": size})
    trained = draw(losses())
    named = {loss if isinstance(loss, str) else loss["name"] for loss in trained}
    clipped = any(getattr(LOSSES[name](name=name), "clip", None) for name in named)
    norm = st.sampled_from(("none",) if clipped else ("none", "spectral"))
    network: Any = {"latent_dim": draw(st.integers(1, 1024)), "width": draw(st.integers(4, 512))}
    network |= {"name": pair, "critic_norm": draw(norm)}
    network |= {"critic_stem": draw(st.integers(0, 512))} if "critic_stem" in NETWORKS[pair].model_fields else {}
    workers = draw(st.integers(1, 256))
    training: Any = {
        "epochs": st.integers(1, 100_000),
        "images": st.integers(1, 10**12),
        "seeds": seeds,
        "ema": st.floats(0, 0.999999),
        "patience": st.integers(1, 1000),
        "decay": st.sampled_from(("none", "linear", "cosine")),
        "workers": st.just(workers),
        "augment": st.lists(st.sampled_from(sorted(AUGMENTS)), unique=True),
    }
    search: Any = {
        "trials": st.integers(1, 10_000),
        "seeds": st.integers(1, 100),
        "space": st.sampled_from(
            ("default", {"n_critic": {"choice": [1, 2]}}, {"critic_lr": {"log_uniform": [1e-5, 1e-3]}})
        ),
    }
    evaluation: Any = {
        "samples": st.integers(50, 1_000_000),
        "metrics": st.lists(st.sampled_from(sorted(METRICS)), min_size=1, unique=True),
        "extractor": st.sampled_from((*sorted(EXTRACTORS), {"name": "efficientnet-lite0", "size": 64})),
        "reference": st.sampled_from(("test", "train")),
        "audit": st.booleans(),
    }
    label = trained[0] if isinstance(trained[0], str) else trained[0]["label"]
    published = st.fixed_dictionaries(
        {"loss": st.just(label), "source": plain_texts}, optional={"fid": st.floats(0, 1e6), "is": st.floats(0, 1e6)}
    )
    sections: Any = {
        "training": st.fixed_dictionaries({"batch_size": st.integers(max(2, workers), 16_384)}, optional=training),
        "search": st.fixed_dictionaries({}, optional=search),
        "evaluation": st.fixed_dictionaries({}, optional=evaluation),
        "resources": st.fixed_dictionaries({}, optional={"cpus_per_worker": st.floats(0.001, 1024)}),
        "published": st.lists(published, max_size=3),
    }
    begun = {"name": draw(words), "dataset": draw(dataset), "network": network, "losses": trained}
    data: dict[str, Any] = begun | draw(st.fixed_dictionaries({}, optional=sections))
    return data
