"""A generator in forms that need no gansvc: TorchScript and ONNX; each takes any number of latents."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import nn

from gansvc.errors import reason_of
from gansvc.store import layout

NAMES = (layout.TORCHSCRIPT, layout.ONNX)
"""Files of the two forms in a model folder."""
OUTPUT = "images"
"""Name of the output: float32 (N, channels, size, size) in [-1, 1]."""


def torchscript(network: nn.Module, inputs: Mapping[str, torch.Tensor]) -> bytes:
    """Return a generator as TorchScript, traced in evaluation mode.

    Args:
        network: the generator.
        inputs: name and example of each input, in the order of the generator's arguments, each of at least two rows.
    """
    file = io.BytesIO()
    with torch.no_grad(), _quiet():
        torch.jit.save(torch.jit.trace(network.eval(), tuple(inputs.values())), file)
    return file.getvalue()


def onnx(network: nn.Module, inputs: Mapping[str, torch.Tensor]) -> bytes | None:
    """Return a generator as ONNX, the first dimension of each input free; None where the package onnx is missing.

    Args:
        network: the generator.
        inputs: as for ``torchscript``.
    """
    if find_spec("onnx") is None:
        return None
    file = io.BytesIO()
    free = {name: {0: "batch"} for name in (*inputs, OUTPUT)}
    with torch.no_grad(), _quiet():
        # The exporter over torch.export gives the same graph, but takes seconds instead of a fifth of one.
        torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            file,  # type: ignore[arg-type]  # it takes a file as well
            dynamo=False,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_axes=free,
        )
    return file.getvalue()


def forms(network: nn.Module, inputs: Mapping[str, torch.Tensor]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return a generator in each form by its file's name, and the reason by the name of each that can't be made.

    ONNX is in neither where the package onnx is missing. Arguments as for ``torchscript``.
    """
    made, failed = {}, {}
    for name, make in ((layout.TORCHSCRIPT, torchscript), (layout.ONNX, onnx)):
        try:
            content = make(network, inputs)
        except Exception as error:  # a tracer may fail on any module; the model is there without it
            failed[name] = reason_of(error)
            continue
        if content is not None:
            made[name] = content
    return made, failed


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep out of the job's log that both ways are older than torch.export, and what they say of shapes they fix.

    A tracer fixes what a module decides by shapes; the tests try other batches than the traced one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
