"""The regularizers of a run with their state: their terms of a critic step, and what they remember of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from gansvc.catalog.regularizers import CriticStep, Regularizer
from gansvc.gan.workers import average_over_workers

TERM = "terms/"
"""Begins the name of what a regularizer lists."""


class Regularization:
    """A loss's regularizers and their state, on one device.

    Args:
        regularizers: what is added to the critic's loss.
        device: where the state lives.
    """

    def __init__(self, regularizers: Sequence[Regularizer], device: torch.device) -> None:
        self._regularizers, self._device = regularizers, device
        self._states: dict[str, Mapping[str, torch.Tensor]] = {
            regularizer.name: self._tensors(regularizer.initial_state()) for regularizer in regularizers
        }

    def terms(self, step: CriticStep, draws: Sequence[torch.Tensor], number: int) -> dict[str, torch.Tensor]:
        """Return the weighted terms, by name, of the regularizers that are due in critic step ``number``.

        ``draws`` are those of each regularizer, due or not.
        """
        terms = {}
        for regularizer, own in self._due(step, draws, number):
            term = regularizer.term(own, self._states[regularizer.name])
            terms[regularizer.name] = regularizer.every * (regularizer.weight * term)
        return terms

    @torch.no_grad()
    def update(self, step: CriticStep, draws: Sequence[torch.Tensor], number: int, weight: float) -> None:
        """Replace the states of the regularizers that were due, by what all workers observed.

        ``weight`` is this worker's part in the mean over all workers; see Batch.
        """
        for regularizer, own in self._due(step, draws, number):
            if state := self._states[regularizer.name]:
                observed = regularizer.observe(own, state)
                means = {name: average_over_workers(value.detach() * weight) for name, value in observed.items()}
                self._states[regularizer.name] = self._tensors(regularizer.next_state(state, means))

    def logged(self, terms: Mapping[str, torch.Tensor], zero: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what history and events list by name: each term, zero where it wasn't due, and the states' numbers."""
        listed = {f"{TERM}{regularizer.name}": terms.get(regularizer.name, zero) for regularizer in self._regularizers}
        states = self._states.items()
        return listed | {f"{TERM}{name}/{key}": value for name, state in states for key, value in state.items()}

    def state_dict(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the state of the regularizers that have one, by their names."""
        return {name: dict(state) for name, state in self._states.items() if state}

    def load_state_dict(self, saved: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Take over a saved state; a regularizer that it lacks begins anew, as do all in a checkpoint of version 0.1.

        Raises:
            ValueError: it is the state of other regularizers.
        """
        for name, state in saved.items():
            if state.keys() != self._states.get(name, {}).keys():
                raise ValueError(f"{name} has no such state")
            self._states[name] = self._tensors(state)

    def _due(
        self, step: CriticStep, draws: Sequence[torch.Tensor], number: int
    ) -> list[tuple[Regularizer, CriticStep]]:
        pairs = zip(self._regularizers, draws, strict=True)
        return [(regularizer, replace(step, draws=own)) for regularizer, own in pairs if regularizer.is_due(number)]

    def _tensors(self, state: Mapping[str, float | torch.Tensor]) -> dict[str, torch.Tensor]:
        kind = torch.get_default_dtype()
        return {name: torch.as_tensor(value, dtype=kind, device=self._device) for name, value in state.items()}
