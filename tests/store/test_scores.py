"""Contracts of scores: they differ by field, and what an older one lacks is neither equal to another nor not."""

from __future__ import annotations

import pytest

from gansvc.store.scores import Contract

from ..builders.jobs import CONTRACT

FULL = CONTRACT.model_copy(
    update={"torch": "2.9", "timm": "1.0", "fid": "1", "data": {"train_images": "ef" * 32, "val_images": "cd" * 32}}
)


def test_contracts_differ_by_field_each_split_for_itself() -> None:
    assert FULL.differences(FULL) == FULL.unknown(FULL) == []
    assert FULL.unlike(FULL.model_copy(update={"seed": 1})) == ["seed (0 and 1)"]
    assert FULL.unlike(FULL.model_copy(update={"seed": 1}), but={"seed"}) == []
    changed = FULL.model_copy(update={"data": FULL.data | {"val_images": "ab" * 32}})
    assert FULL.unlike(changed) == ["data.val_images (cdcdcdcdcdcd and abababababab)"]


@pytest.mark.parametrize("name", ["torch", "timm", "fid", "data"])
def test_a_field_that_an_older_record_lacks_is_unknown_and_no_difference(name: str) -> None:
    older = Contract.model_validate(FULL.model_dump(exclude={name}))
    assert older.differences(FULL) == FULL.differences(older) == older.unlike(FULL) == []
    assert older.unknown(FULL) == FULL.unknown(older) == [name]
    assert older.unknown(older) == [name], "nor can two older ones be told to be alike"
    assert older.unlike(FULL.model_copy(update={"seed": 1})) == ["seed (0 and 1)"]


def test_what_only_one_contract_was_made_with_is_no_difference() -> None:
    one, other = (FULL.model_copy(update={"details": {"settings.new": text}}) for text in ("width 1", "width 2"))
    assert FULL.differences(one) == one.differences(FULL) == FULL.unknown(one) == one.unknown(FULL) == []
    assert one.unlike(other) == ["settings.new (width 1 and width 2)"]
