"""How far scratch and torch come apart in training, held against what rounding alone does, and why they part.

Training amplifies rounding errors, so that no fixed tolerance says anything about two trainings. The yardstick is torch
again, started one unit in the last place away: as long as scratch is about as near to torch as torch is to itself, the
difference is rounding. Where it is not, the step in which the difference grew most is taken again from the same
weights and compared tensor by tensor; then it was a decision on a near tie that turned, or it is a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from compare.driving.tensors import Tensors
from compare.machine.conditions import direct_convolutions
from compare.pairs import weights
from compare.pairs.decisions import Flip, flips
from compare.pairs.models import check_layers
from compare.pairs.observe import Values, watch_scratch, watch_torch
from compare.pairs.report import Report, Row
from compare.training.findings import Distance, Findings, Parting, distance, judged
from compare.training.twins import PERTURBED, Batch, Both, ScratchTwin, TorchTwin, Twin, Twins
from compare.verify.one_step import Start, check_step, updated_name
from scratch.backend import to_host

EXCESS = 10.0  # times as far as the yardstick, or as what is explained: worth an explanation; it decides nothing else
FLOOR = 4  # ulps below which a distance is none


@dataclass(frozen=True)
class _Moment:
    """Everything a step began with, enough to take it again; and, of a suspect, what it gave and did."""

    number: int
    weights: dict[str, Tensors]
    optimizer_state: Tensors
    lr: float
    batch: Batch
    growth: float = 0.0
    got: Tensors = field(default_factory=dict)
    parameter: str = ""
    element: tuple[int, ...] = ()


_quietly = np.errstate(over="ignore", invalid="ignore")  # a run that blows up is told of in words


class Drift:
    """Watches the twins, step by step; `before` and `after` stand around each."""

    def __init__(self, twins: Twins, findings: Findings | None = None) -> None:
        self.twins = twins
        self.findings = findings or Findings()
        self.own: Distance | None = None  # scratch from torch, after the last step
        self.yardstick: Distance | None = None  # torch one ulp away from torch
        self.now = self._weights()
        self.moment: _Moment | None = None  # of the step that goes on or is just done
        self.suspect: _Moment | None = None  # of the step in which the distance grew most
        self.start: Start | None = None
        self.decided_on: Values = {}

    @_quietly
    def before(self, number: int, lr: float, batch: Batch) -> None:
        """Remember what the step begins with."""
        settings, members = self.twins.settings, self.twins.members
        state = members["scratch"].optimizer_state() if settings.measures_drift else {}
        self.moment = _Moment(number, self.now, state, lr, batch)
        if settings.resync:
            own, leader = members["scratch"], members["torch"]
            assert isinstance(leader, TorchTwin)
            self.start = Start.of(leader.model, leader.optimizer)
            self.decided_on, _ = watch_scratch(own.model, batch[0][0])

    @_quietly
    def after(self, loss: Both) -> Report | None:
        """Look at what the step did; with --resync, a report that compares all of it."""
        settings = self.twins.settings
        self.now = self._weights()
        if settings.compares:
            self.own = distance(self.now["scratch"], self.now["torch"])
        if settings.measures_drift:
            self._hold_to_yardstick(loss)
        return self._check_step(loss) if settings.resync else None

    def after_divergence(self, loss: Both) -> None:
        """Look at a step in which the loss of one twin alone was no number: torch takes it from the same weights."""
        known = len(self.findings.partings)
        self.after(loss)
        if self.twins.settings.measures_drift and not self.twins.settings.tf32 and len(self.findings.partings) == known:
            self.suspect = self._suspected(loss, np.inf)
            self.findings.partings.append(self._explain(self.findings))

    def _weights(self) -> dict[str, Tensors]:
        return {name: twin.weights() for name, twin in self.twins.members.items()}

    def _check_step(self, loss: Both) -> Report:
        assert self.start is not None
        assert self.moment is not None
        own, dtype = self.twins.members["scratch"], self.twins.settings.dtype
        got = _seen(own, loss["scratch"], dtype)
        rows, turned = self._compare(self.moment, self.start, got, self.decided_on)
        report = Report(rows)
        self.findings.add(report, turned)
        return report

    def _compare(self, moment: _Moment, start: Start, got: Tensors, decided_on: Values) -> tuple[list[Row], list[Flip]]:
        settings = self.twins.settings
        images, labels = (to_host(own) for own, _ in moment.batch)
        with direct_convolutions():
            return check_step(
                settings.model, f"step {moment.number}", start, images, labels, got, decided_on, settings.seed
            )

    def _hold_to_yardstick(self, loss: Both) -> None:
        """Notice when scratch is much further from torch than torch from itself."""
        assert self.own is not None
        found, floor = self.findings, FLOOR * float(np.finfo(self.twins.settings.dtype).eps)
        self.yardstick = distance(self.now[PERTURBED], self.now["torch"])
        growth = self.own.largest / max(found.apart, floor)
        found.apart = self.own.largest
        found.yardstick = max(found.yardstick, self.yardstick.largest)
        if found.mistaken or self.twins.settings.tf32:  # TF32 is there to be looked at, not to be judged
            return
        if growth > (self.suspect.growth if self.suspect else 0.0):
            self.suspect = self._suspected(loss, growth)
        explained = [parting.apart for parting in found.partings]
        if found.apart > EXCESS * max(found.yardstick, floor, *explained):
            found.partings.append(self._explain(found))
            self.suspect = None

    def _suspected(self, loss: Both, growth: float) -> _Moment:
        """The step that is just done, with what it gave and where the distance is largest after it."""
        assert self.own is not None
        name = self.own.parameter
        difference = np.abs(self.now["scratch"][name] - self.now["torch"][name])
        element = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))
        got = _seen(self.twins.members["scratch"], loss["scratch"], self.twins.settings.dtype)
        known = {"growth": growth, "got": got, "parameter": name, "element": element}
        return _Moment(**(vars(self.moment) | known))

    @_quietly
    def _explain(self, found: Findings) -> Parting:
        """Let torch take the step in which the distance grew most, from where scratch began it, and compare the two."""
        assert self.suspect is not None
        suspect, settings, pair = self.suspect, self.twins.settings, self.twins.pair
        images, labels = (to_host(own) for own, _ in suspect.batch)
        own = pair.scratch(dtype=settings.dtype)
        twin = TorchTwin(pair.torch(dtype=getattr(torch, settings.dtype)), settings)
        weights.load_scratch_state(own, suspect.weights["scratch"])
        twin.load(suspect.weights["torch"], {})
        decided_on, _ = watch_scratch(own, images)
        inputs, _ = watch_torch(twin.model, torch.from_numpy(images))
        turned = flips(twin.model, decided_on, inputs)
        twin.load(suspect.weights["scratch"], suspect.optimizer_state)
        twin.set_lr(suspect.lr)
        rows, _ = self._compare(suspect, Start.of(twin.model, twin.optimizer), suspect.got, decided_on)
        if not Report(rows).ok:
            with direct_convolutions():
                rows = check_layers(pair, suspect.weights["scratch"], images, labels) + rows
        report = Report(rows)
        return Parting(
            suspect.number,
            suspect.parameter,
            list(suspect.element),
            found.apart,
            found.yardstick,
            _reason(report, turned),
            report.ok,
            unjudged=report.outcome == "not_judged",
        )

    @_quietly
    def first_broken(self, name: str, after: bool = False) -> str:
        """Where a twin first met what is not finite, in words: in its last step, or with the weights after it."""
        assert self.moment is not None
        state, (images, _) = self.now[name] if after else self.moment.weights[name], self.moment.batch
        for key, array in state.items():
            if not np.isfinite(array).all():
                return f"{key} was no longer finite after the step{'' if after else ' before'}"
        twin, model = self.twins.members[name], self.twins.pair
        if isinstance(twin, ScratchTwin):
            own = model.scratch(dtype=self.twins.settings.dtype)
            weights.load_scratch_state(own, state)
            _, outputs = watch_scratch(own, to_host(images[0]))
        else:
            reference = model.torch(dtype=getattr(torch, self.twins.settings.dtype))
            weights.load_torch_state(reference, state)
            _, outputs = watch_torch(reference, images[1].cpu())
        for layer, output in outputs.items():
            if not np.isfinite(output).all():
                return f"the output of {layer} was the first that is not finite"
        return "all layers' outputs are finite, the loss is not"


def _seen(own: Twin, loss: float, dtype: str) -> Tensors:
    """What a step of scratch gave, under the names of `one_step`."""
    after = {updated_name(name): array for name, array in own.weights().items()}
    state = {f"optimizer {name}": array for name, array in own.optimizer_state().items()}
    return {"loss": np.array(loss, dtype)} | own.gradients() | after | state


def _reason(report: Report, turned: list[Flip]) -> str:
    if report.wrong:
        return f"no rounding, a mistake: {judged(report).headline()}"
    if open_rows := report.unjudged:
        return f"not judged, whether rounding or a mistake: {open_rows[0].tensor}: {open_rows[0].problem}"
    same = f"from the same weights both take this step alike ({report.compared} tensors within their bounds): rounding"
    if not turned:
        return f"no ReLU and no pooling decided otherwise in that step; {same}"
    more = f", and {len(turned) - 1} more decisions" if len(turned) > 1 else ""
    return f"a near tie turned, {turned[0]}{more}; {same}"
