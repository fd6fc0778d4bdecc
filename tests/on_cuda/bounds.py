"""Both twins on the device, and each held against the CPU's torch: rows of a report, and what is noted of them."""

from __future__ import annotations

from typing import Any

from compare.machine.devices import Device
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.report import Report, Row, compare
from scratch import Array
from tests.elsewhere import maker


def torch_there(pair: LayerPair, probe: Probe, device: Device) -> dict[str, Array]:
    """Output and gradients of the reference on the device, for a probe of one call."""
    module = pair.reference(probe).to(device.name)
    (call,) = probe.calls
    first, *rest = (device.to_torch(array.copy()) for array in call.inputs)
    first.requires_grad_()
    output = module(first, *rest)
    output.backward(device.to_torch(call.grad_output.copy()))
    assert first.grad is not None
    seen = {"output": output, "grad_input": first.grad}
    seen |= {
        f"grad_{name}": parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None
    }
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in seen.items()}


def both_there(pair: LayerPair, dtype: str, device: Device) -> tuple[Report, Report]:
    """torch on the device against torch on the CPU, and scratch against torch, both on the device.

    The bounds are those of the CPU's reference: they allow for any order of summation. Probes of several calls are left
    out.
    """
    against_cpu: list[Row] = []
    against_torch: list[Row] = []
    for probe in pair.probes(dtype):
        if len(probe.calls) > 1:
            continue
        own = pair.drive(maker(pair, device.to_scratch), probe)
        theirs = torch_there(pair, probe, device)
        same = {name: array for name, array in own.items() if name not in theirs}
        against_cpu += [row for row in pair.compare(probe, theirs | same) if row.tensor in theirs]
        allowed = pair.bounds(probe)
        against_torch += compare(pair.name, probe.case, {name: own[name] for name in theirs}, theirs, allowed)
    return Report(against_cpu), Report(against_torch)


def noted(report: Report, pair: str, dtype: str, what: str) -> dict[str, Any]:
    """A report in a few plain values: how many tensors, and where the largest share of a bound was used."""
    worst = max(report.rows, key=lambda row: row.budget, default=None)
    return {
        "what": what,
        "pair": pair,
        "dtype": dtype,
        "tensors": report.compared,
        "wrong": len(report.wrong),
        "share": worst and worst.as_json()["budget"],
        "where": worst and f"{worst.tensor} [{worst.case}]",
    }
