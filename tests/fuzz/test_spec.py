"""Job files drawn at random: a valid one reads back the same, any other is refused in sentences, soon, with no harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gansvc.errors import SpecError
from gansvc.spec import jobfile

from .fuzzing import NASTY, Yard, cases, changed, damaged, junk, texts
from .specs import TOKENS, valid


def leaves(data: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every field."""
    for key, value in data.items() if isinstance(data, Mapping) else enumerate(data):
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


@cases(60)
@given(valid(), st.booleans(), st.data())
def test_a_valid_spec_reads_back_the_same(data: dict[str, Any], flow: bool, drawn: st.DataObject) -> None:
    spec = jobfile.validate(data)
    text = yaml.dump(data, Dumper=jobfile._Plain, default_flow_style=flow, allow_unicode=flow)
    assert jobfile.parse(text) == spec
    again = jobfile.unpack(jobfile.pack(spec))
    assert again == spec
    assert jobfile.dump(again) == jobfile.dump(spec)

    # A value that is set where it already is changes nothing, and setting twice is setting once.
    fields = [
        (path, value)
        for path, value in leaves(spec.model_dump(mode="json", exclude_none=True))
        if path.count(".") < 3 and not path.startswith("losses.")
    ]
    path, value = drawn.draw(st.sampled_from(fields))
    assert spec.with_values({path: value}) == spec
    other = spec.with_values({"training.epochs": 7})
    assert other.with_values({"training.epochs": 7}) == other != spec.with_values({"training.epochs": 8})


# Whatever else


def checked(yard: Yard, content: bytes, *more: str) -> None:
    """Validate a job file; the exit code is 0 or 2, and what the command line says, the library says too."""
    (yard.work / "job.yaml").write_bytes(content)
    ended = yard.run("validate", "job.yaml", *more)
    assert ended.code in (0, 2)
    if not more:
        try:
            jobfile.load(yard.work / "job.yaml")
        except SpecError as error:
            assert ended.code == 2, error
        else:
            assert ended.code == 0
    assert sorted(path.name for path in yard.root.rglob("*") if path.is_file()) == ["job.yaml"]


@cases(60)
@given(st.data())
def test_a_changed_spec_is_read_or_refused_in_sentences(yard: Yard, data: st.DataObject) -> None:
    content = data.draw(changed(data.draw(valid())))
    checked(yard, yaml.safe_dump(content, allow_unicode=data.draw(st.booleans())).encode("utf-8", "replace"))


@cases(40)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_sentences(yard: Yard, data: st.DataObject) -> None:
    checked(yard, data.draw(damaged(yaml.safe_dump(data.draw(valid())).encode())))


@cases(60)
@given(st.lists(st.one_of(st.sampled_from(TOKENS), texts), max_size=25).map("".join))
@example("name: !!int ''")
@example("name: !!float ''")
@example("name: !!timestamp x")
@example("name: !!bool x")
@example('"\\e]0;title\\a": 1')
@example('name: "\\u009b31m"')
@example('dataset: histology\nlosses: [lsgan]\nname: x\nsearch: {space: {"a\\nb": {choice: [1]}}}')
@example('dataset: histology\nlosses: [lsgan]\nname: x\nsearch: {space: {"\\ud800": {choice: [1]}}}')
def test_words_of_yaml_in_any_order_are_refused_in_sentences(yard: Yard, text: str) -> None:
    checked(yard, text.encode("utf-8", "surrogatepass"))


@cases(20)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_are_refused_in_sentences(yard: Yard, content: bytes) -> None:
    checked(yard, content)


@cases(3)
@given(st.sampled_from(TOKENS), st.sampled_from(("", "name: [", "[", "a:\n  ", "losses: [")), st.integers(0, 16))
@example("{a: b},", "losses: [", 0)
@example("x, ", "published: [", 0)
@example("kid, ", "name: a\ndataset: histology\nlosses: [lsgan]\nevaluation: {metrics: [", 0)
def test_the_largest_file_is_refused_soon_whatever_it_repeats(yard: Yard, token: str, start: str, less: int) -> None:
    room = jobfile.LIMIT - len(start.encode()) - less
    end = "".join({"[": "]", "{": "}"}.get(sign, "") for sign in reversed(start))
    body = token * ((room - len(end)) // len(token.encode()))
    (yard.work / "job.yaml").write_bytes((start + body + end).encode())
    assert yard.run("validate", "job.yaml").code == 2


# --set

FIELDS = (
    "training",
    "losses",
    "search",
    "space",
    "name",
    "lsgan",
    "epochs",
    "0",
    "1",
    "dataset",
    "evaluation",
    "extractor",
)
parts = st.one_of(st.sampled_from(FIELDS), st.sampled_from(NASTY), texts).filter(lambda part: "\0" not in part)
values = st.one_of(texts, st.sampled_from(TOKENS), junk.map(lambda data: yaml.safe_dump(data, default_flow_style=True)))


@cases(60)
@given(st.lists(parts, max_size=5).map(".".join), values)
@example(".".join("a" * 3000), "1")
@example(".".join(["search", "space", *"a" * 3000]), "1")
@example("training", "null")
@example("losses.0.name", "[]")
@example("losses.0", "{name: {}}")
def test_any_value_at_any_path_is_set_or_refused_in_sentences(yard: Yard, path: str, value: str) -> None:
    assume("\0" not in value)
    checked(yard, b"name: a\ndataset: histology\nlosses: [lsgan, wgan]\n", "--set", f"{path}={value}")
    ended = yard.run("submit", "job.yaml", "--dry-run", "--set", f"{path}={value}")
    assert ended.code in (0, 2)
