"""The important figures, in words and a table: printed last, as the end of a long output is what one gets to see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LONGEST = 15  # failures that are shown of one step; all are in the JSON


def summary(result: dict[str, Any]) -> list[str]:
    """The lines, from what matters least to what matters most."""
    steps = result["steps"]
    return [
        *(line for name, step in steps.items() for line in _step(name, step)),
        *_rates(steps.get("measurements", {})),
        *_noted(steps.get("cuda tests", {})),
        *_machine(result["machine"]),
        *(["a rehearsal on the CPU: nothing above says anything about a GPU"] if result.get("rehearsal") else []),
        *(_outcome(name, step) for name, step in steps.items()),
    ]


def _step(name: str, step: dict[str, Any]) -> Iterator[str]:
    failures = step.get("failures", [])
    for failure in failures[:LONGEST]:
        yield f"FAILED {failure['test']}: {failure['text']}"
    if len(failures) > LONGEST:
        yield f"... and {len(failures) - LONGEST} more failures of the {name}"
    for finding in step.get("findings", []):
        if finding["problem"]:
            yield f"doctor: {finding['name']}: {finding['value']}: {finding['problem']}"


def _outcome(name: str, step: dict[str, Any]) -> str:
    status = {0: "ok", 124: "its time was up"}.get(step["status"], f"exit status {step['status']}")
    counts = [f"{step[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if outcome in step]
    counts += [f"{len(step['rates'])} rates"] if "rates" in step else []
    return f"{name}: {', '.join([status, *counts])}, {step['seconds']:.0f} s"


def _noted(step: dict[str, Any]) -> Iterator[str]:
    """The largest share of a bound for each kind of comparison and dtype; then all other notes."""
    bounds = [note for note in step.get("noted", []) if "share" in note]
    for what in dict.fromkeys(note["what"] for note in bounds):
        for dtype in ("float64", "float32"):
            these = [note for note in bounds if (note["what"], note["dtype"]) == (what, dtype)]
            if not these:
                continue
            worst = max(these, key=lambda note: note["share"] if note["share"] is not None else float("inf"))
            share = "no number" if worst["share"] is None else f"{worst['share']:.0%}"
            yield (
                f"{what}, {dtype}: {sum(note['tensors'] for note in these):,} tensors, "
                f"{sum(note['wrong'] for note in these)} wrong, the largest share of a bound {share} "
                f"({worst['pair']}, {worst['where']})"
            )
    for note in step.get("noted", []):
        if "share" not in note:
            yield from (
                f"{name}: {f'{value:.2g}' if isinstance(value, float) else value}" for name, value in note.items()
            )


def _rates(found: dict[str, Any]) -> Iterator[str]:
    """A line for each model, mode and batch size: images per second on both devices."""
    rows = found.get("rates", [])
    sides = list(dict.fromkeys((row["device"], row["threads"]) for row in rows))
    titles = [f"{device}, {threads} thread{'s' if threads > 1 else ''}" for device, threads in sides]
    keys = dict.fromkeys((row["model"], row["mode"], row["batch"]) for row in rows)
    if keys:
        yield "images per second, scratch and torch, (how many times as fast scratch is): " + "; ".join(titles)
    for key in sorted(keys, key=lambda key: (key[1] != "train", key[0], key[2])):
        cells = []
        for side in sides:
            of = [r for r in rows if (r["model"], r["mode"], r["batch"]) == key and (r["device"], r["threads"]) == side]
            cells.append(
                f"{of[0]['scratch']:>11,.0f} {of[0]['torch']:>11,.0f} ({of[0]['ratio']:.2f})" if of else f"{'-':>30}"
            )
        yield f"{key[0]:<7}{key[1]:<10}{key[2]:>5} " + "  ".join(cells)
    if launch := found.get("launch"):
        yield f"one operation from Python takes {launch['scratch']:.1f} µs (scratch), {launch['torch']:.1f} µs (torch)"
    left_out = found.get("left_out", [])
    for left in left_out[:LONGEST]:
        yield f"not measured: {left['device']}, {left['cell']}: {left['why']}"
    if len(left_out) > LONGEST:
        yield f"... and {len(left_out) - LONGEST} more not measured"


def _machine(machine: dict[str, Any]) -> Iterator[str]:
    yield "; ".join(f"{name} {value}" for name, value in machine.items())
