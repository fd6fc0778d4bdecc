"""Mistakes in a verifier: what lets wrong code pass. They are planted in our own."""

from __future__ import annotations

from compare.faults.fault import Fault


def _verifier(name: str, function: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"verifier-{name}", "verifier", f"compare.pairs.report.{function}", made, hint, shows, edits)


_OVER = "if not problem and budget[at] > 1:"

FAULTS: tuple[Fault, ...] = (
    _verifier(
        "nan-passes",
        "_compare_tensor",
        "NaN passes: every comparison with it is false, so that no difference is ever above the tolerance.",
        "Compare something with NaN.",
        "NaN agrees with everything; hidden as long as nothing overflows.",
        ("if not np.isfinite(got).all():", "if False:"),
        ("if not np.isfinite(expected).all():", "if False:"),
    ),
    _verifier(
        "nothing-compared-passes",
        "Report",
        "A comparison of nothing is called a success.",
        "Give it no tensors at all.",
        "A misspelt name leaves nothing to compare, and all is well.",
        ("return bool(self.rows) and not", "return not"),
    ),
    _verifier(
        "own-array-passes",
        "_incomparable",
        "A candidate that hands back the reference's own array is compared with itself.",
        "Give it the expected array as the result.",
        "Everything agrees exactly.",
        ("if np.may_share_memory(got, expected):", "if False:"),
    ),
    _verifier(
        "zeros-pass",
        "_untrustworthy",
        "The tolerance is larger than the tensor: zeros pass, and so does an update that was never made.",
        "Give it zeros, with the tolerance that you use.",
        "Small gradients are never really compared.",
        (
            'if scale > 0 and (np.abs(guarded) <= bound).all():\n        return "its bound is so wide',
            'if False:\n        return "its bound is so wide',
        ),
        ('if dtype == "float64" and bound.max() > LOOSEST * scale:', "if False:"),
    ),
    _verifier(
        "unchanged-parameters-pass",
        "_compare_tensor",
        "The tolerance of an updated parameter is measured by the parameter, and is larger than the update.",
        "Give it the parameters as they were before the step.",
        "An optimizer that does nothing passes.",
        ("guarded = reference if start is None else reference - start", "guarded = reference"),
    ),
    _verifier(
        "permutation-passes",
        "_compare_tensor",
        "Sorted values are compared, or sums: a permutation passes.",
        "Give it the right rows in another order.",
        "Exchanged channels and images pass.",
        (
            "difference = np.abs(got.astype(np.float64) - reference)",
            "difference = np.abs(np.sort(got.astype(np.float64), axis=None) - np.sort(reference, axis=None))"
            ".reshape(shape)",
        ),
    ),
    _verifier(
        "mean-difference",
        "_compare_tensor",
        "The mean difference is compared with the tolerance: one wrong element among many passes.",
        "Change one element in a large tensor.",
        "Single wrong elements pass.",
        (_OVER, "if not problem and budget.mean() > 1e3:"),
    ),
    _verifier(
        "signed-difference",
        "_compare_tensor",
        "The difference is compared without its absolute value: what is too small passes.",
        "Give it something much too small.",
        "Half of all mistakes pass.",
        (
            "difference = np.abs(got.astype(np.float64) - reference)",
            "difference = np.maximum(got.astype(np.float64) - reference, 0)",
        ),
    ),
    _verifier(
        "sign-ignored",
        "_compare_tensor",
        "Absolute values are compared: a wrong sign passes.",
        "Give it the negative.",
        "A climbing optimizer passes.",
        (
            "difference = np.abs(got.astype(np.float64) - reference)",
            "difference = np.abs(np.abs(got.astype(np.float64)) - np.abs(reference))",
        ),
    ),
    _verifier(
        "broadcasts",
        "_incomparable",
        "Shapes are not compared: what broadcasts passes.",
        "Give it one row where four are expected.",
        "A gradient that was not summed, or summed too far, passes.",
        ("if got.shape != expected.shape:", "if False:"),
    ),
    _verifier(
        "missing-passes",
        "compare",
        "Only tensors that both sides have are compared: what is missing passes.",
        "Give it no result for a tensor.",
        "A gradient that is never set passes.",
        ("        for name in expected\n    ]", "        for name in expected\n        if name in got\n    ]"),
    ),
    _verifier(
        "dtype-ignored",
        "_incomparable",
        "The dtype is not compared: float32 passes for float64.",
        "Give it float32 where float64 is expected.",
        "Narrowed results pass.",
        ("if got.dtype != expected.dtype:", "if False:"),
    ),
    _verifier(
        "first-tensor-only",
        "compare",
        "Only the first tensor is compared.",
        "Let the second of two tensors be wrong.",
        "Wrong gradients beside a right output pass.",
        ("        for name in expected\n    ]", "        for name in list(expected)[:1]\n    ]"),
    ),
    _verifier(
        "last-tensor-decides",
        "Report",
        "The verdict is that of the last tensor: those before it are overwritten.",
        "Let the first of two tensors be wrong.",
        "A wrong output before right gradients passes.",
        (
            "return bool(self.rows) and not self.wrong and not self.unjudged",
            "return bool(self.rows) and self.rows[-1].ok",
        ),
    ),
    _verifier(
        "hand-set-tolerance",
        "_compare_tensor",
        "The tolerance is a number that somebody set, 1e-5, whatever is compared.",
        "Change one element by a relative 1e-9.",
        "Small mistakes pass in float64.",
        ("budget = np.divide(difference, bound,", "budget = np.divide(difference, np.full(shape, 1e-5),"),
        ('problem = _untrustworthy(guarded, bound, dtype) if difference.any() and not outside else ""', 'problem = ""'),
    ),
)
