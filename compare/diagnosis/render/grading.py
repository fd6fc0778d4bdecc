"""The verdict for machines that grade: points by tensor, JUnit's XML, Gradescope's JSON."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

from compare.diagnosis.coverage import ENOUGH
from compare.diagnosis.verdict import Diagnosis
from compare.machine.errors import UserError


@dataclass(frozen=True)
class Mark:
    """The points for one tensor: all of them where it is right on every input, else none.

    Attributes:
        judged: whether enough of it could be compared to say so.
    """

    tensor: str
    points: float
    of: float
    text: str
    right: bool
    judged: bool = True


def read_points(text: str) -> float | dict[str, float]:
    """Points as one number for everything, or by tensor: "10", "output=4,grad_input=6".

    Raises:
        UserError: for anything else.

    >>> read_points("output=4,grad_input=6")
    {'output': 4.0, 'grad_input': 6.0}
    """
    split = [part.rpartition("=") for part in text.split(",")]
    try:
        named = {name.strip(): float(value) for name, _, value in split}
    except ValueError:
        named = {}
    once = len(named) == len(split) and ("" not in named or len(named) == 1)
    if not once or not all(0 <= value < float("inf") for value in named.values()):
        raise UserError(f"--points {text!r} must be a number such as 10, or one for each tensor: output=4,grad_input=6")
    return named.get("", named)


def marks(diagnosis: Diagnosis, points: float | dict[str, float], *, hint_only: bool = False) -> list[Mark]:
    """The points for every tensor; one number is shared out evenly. What is not provided has none.

    Neither has that of which too little could be compared.

    Raises:
        UserError: for a tensor that there is not.
    """
    wrong = {kind: count for kind, _, count in diagnosis.kinds()}
    shares_compared = diagnosis.coverage.shares
    kinds = dict.fromkeys((*wrong, *shares_compared, *diagnosis.missing))
    graded = [kind for kind in kinds if not kind.endswith("after use") and kind != "all tensors"]
    if not graded:
        graded = ["output"]
    broken = not shares_compared or bool(wrong.get("all tensors"))
    if isinstance(points, dict):
        for name in points:
            if name not in graded and not broken:
                raise UserError(f"--points: {diagnosis.candidate} has no tensor {name!r}; it has {', '.join(graded)}")
        shares = points
    else:
        shares = {kind: points / len(graded) for kind in graded}
    changed = any(kind.endswith("after use") and count for kind, count in wrong.items())
    found = []
    for kind, of in shares.items():
        finding = next((f for f in diagnosis.findings if kind in f.kinds), None)
        share = shares_compared.get(kind, 1.0)
        judged = diagnosis.outcome == "wrong" or (bool(shares_compared) and share >= ENOUGH)
        there = kind in wrong or kind in shares_compared  # all that there is of it may be unjudged
        fine = there and not wrong.get(kind) and not broken and not (changed and kind == "output")
        right = fine and share >= ENOUGH
        if right:
            text = "right on every input"
        elif finding is not None:
            text = finding.hint if hint_only else f"{finding.made} Hint: {finding.hint}"
        elif kind in diagnosis.missing:
            text = "not provided"
        elif fine:
            missed = ", ".join(diagnosis.coverage.missed)
            text = f"too little of it could be compared: {share:.0%} of the kinds of input; missing: {missed}"
        else:
            text = diagnosis.headline(hint_only=hint_only)
        found.append(Mark(kind, of if right else 0.0, of, text, right, judged and not (fine and not right)))
    return _not_judged(diagnosis, found, hint_only=hint_only)


def _not_judged(diagnosis: Diagnosis, found: list[Mark], *, hint_only: bool) -> list[Mark]:
    """The marks; none, with the reason, where it is not judged for a reason that lies in no tensor."""
    if diagnosis.outcome != "not_judged" or not all(mark.right for mark in found):
        return found
    text = diagnosis.headline(hint_only=hint_only)
    return [Mark(mark.tensor, 0.0, mark.of, text, right=False, judged=False) for mark in found]


def _verdict(diagnosis: Diagnosis, *, hint_only: bool) -> list[str]:
    """The headline, and what it rests on."""
    lines = [diagnosis.headline(hint_only=hint_only), f"coverage: {diagnosis.coverage}"]
    return [*lines, diagnosis.conditions] if diagnosis.conditions else lines


def as_gradescope(diagnosis: Diagnosis, points: float | dict[str, float], *, hint_only: bool = False) -> dict[str, Any]:
    """The results.json of a Gradescope autograder."""
    given = marks(diagnosis, points, hint_only=hint_only)
    return {
        "score": round(sum(mark.points for mark in given), 6),
        "output": "\n".join([*_verdict(diagnosis, hint_only=hint_only), *diagnosis.remarks]),
        "tests": [
            {
                "name": f"{diagnosis.like}: {mark.tensor}",
                "score": round(mark.points, 6),
                "max_score": round(mark.of, 6),
                "status": "passed" if mark.right else "failed",
                "output": mark.text,
            }
            for mark in given
        ],
    }


def as_junit(diagnosis: Diagnosis, *, hint_only: bool = False) -> str:
    """JUnit's XML: one test case for each kind of tensor.

    It is a failure where the tensor is wrong, and an error where it could not be judged. What is not provided is
    skipped, if the rest is judged.
    """
    given = marks(diagnosis, 1.0, hint_only=hint_only)
    skipped = () if diagnosis.outcome == "not_judged" else diagnosis.missing
    there = [mark for mark in given if not mark.right and mark.tensor not in skipped]
    failed = [mark for mark in there if mark.judged and mark.tensor not in diagnosis.missing]
    suite = ET.Element(
        "testsuite",
        name=_xml_safe(f"gradtwin: {diagnosis.candidate} like {diagnosis.like}"),
        tests=str(len(given)),
        failures=str(len(failed)),
        errors=str(len(there) - len(failed)),
        skipped=str(sum(mark.tensor in skipped for mark in given)),
    )
    if diagnosis.conditions:
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", name="containment", value=_xml_safe(diagnosis.containment))
        ET.SubElement(properties, "property", name="seed", value=str(diagnosis.seed))
    for mark in given:
        case = ET.SubElement(suite, "testcase", classname=_xml_safe(diagnosis.candidate), name=_xml_safe(mark.tensor))
        if mark.tensor in skipped:
            ET.SubElement(case, "skipped", message="not provided")
        elif mark in there:
            headline = _xml_safe(diagnosis.headline(hint_only=hint_only))
            what = "failure" if mark in failed else "error"
            ET.SubElement(case, what, message=headline).text = _xml_safe(mark.text)
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _xml_safe(text: str) -> str:
    """The text without the characters that XML has no way to write."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
