"""The agreement check rejects planted mistakes, in the tensor where they are. The originals, beside them, pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compare.pairs import REGISTRY
from compare.verify.agreement import check
from tests import mistakes

PLANTED = [
    ("relu", mistakes.ReLUMaskFromUpstream, "grad_input"),
    ("maxpool2d", mistakes.MaxPoolAllTiesWin, "grad_input"),
    ("linear", mistakes.LinearUpdatesTooEarly, "grad_input"),
    ("conv2d", mistakes.ConvTurnsKernel, "output"),
    ("conv2d", mistakes.ConvForgetsBias, "output"),
    ("conv2d", mistakes.ConvMeanGradBias, "grad_bias"),
    ("conv2d", mistakes.ConvOverwritesOverlaps, "grad_input"),
    ("conv2d", mistakes.ConvCropsOneSide, "grad_input"),
    ("conv2d", mistakes.ConvOverwritesGradient, "grad_weight"),
    ("conv2d", mistakes.ConvGradFromLastImage, "grad_weight"),
    ("conv2d", mistakes.ConvNarrowsInside, "output"),
    ("relu", mistakes.ReLUPassesZero, "grad_input"),
    ("relu", mistakes.ReLUInPlace, "input after use"),
    ("maxpool2d", mistakes.MaxPoolLastWins, "grad_input"),
    ("flatten", mistakes.FlattenChannelsLast, "output"),
    ("linear", mistakes.LinearForgetsTransposition, "all tensors"),
    ("cross_entropy", mistakes.CrossEntropyWithoutMean, "grad_input"),
    ("cross_entropy", mistakes.CrossEntropyOverflows, "grad_input"),
    ("sgd", mistakes.SGDDampensFirstStep, "weight"),
    ("sgd", mistakes.SGDAlwaysNesterov, "weight"),
    ("sgd", mistakes.SGDDecoupledDecay, "weight"),
    ("sgd", mistakes.SGDLearningRateInVelocity, "weight"),
    ("sgd", mistakes.SGDDecaysIntoGradient, "grad of weight after use"),
    ("sgd", mistakes.SGDNeverZeroes, "gradients left by zero_grad"),
    ("batchnorm2d", mistakes.BatchNormUnbiasedVariance, "output"),
    ("batchnorm2d", mistakes.BatchNormEpsOutsideRoot, "output"),
    ("batchnorm2d", mistakes.BatchNormBiasedRunningVar, "running_var"),
    ("batchnorm2d", mistakes.BatchNormTurnedMomentum, "running_mean"),
    ("batchnorm2d", mistakes.BatchNormConstantStatistics, "grad_input"),
    ("batchnorm2d", mistakes.BatchNormForgetsMeanTerm, "grad_input"),
    ("batchnorm2d", mistakes.BatchNormIgnoresEvaluation, "output of call 2"),
    ("batchnorm2d", mistakes.BatchNormCountsEvaluation, "num_batches_tracked"),
    ("batchnorm2d", mistakes.BatchNormForgetsSecondBatch, "output of call 3"),
    ("adam", mistakes.AdamForgetsCorrection, "weight"),
    ("adam", mistakes.AdamOneClock, "late"),
    ("adam", mistakes.AdamMovesWithoutGradient, "late"),
    ("adam", mistakes.AdamDecoupledDecay, "weight"),
    ("adam", mistakes.AdamEpsBeforeCorrection, "weight"),
    ("relu", mistakes.ReLU6, "output"),
    ("relu", mistakes.ReLUReusesItsOutput, "output of call 1"),
    ("conv2d", mistakes.ConvBrokenInEvaluation, "output of call 2"),
    ("linear", mistakes.LinearRemembersWeight, "output of call 2"),
    ("cross_entropy", mistakes.CrossEntropyRemembersBatchSize, "grad_input of call 2"),
    ("cross_entropy", mistakes.CrossEntropyOverwritesTargets, "input 1 after use"),
    ("cnn", mistakes.CNNWithoutGradInput, "grad_input"),
    ("cnn", mistakes.CNNSoftmaxInEvaluation, "logits in evaluation"),
]


@pytest.mark.parametrize(("pair", "mistake", "tensor"), PLANTED, ids=[mistake.__name__ for _, mistake, _ in PLANTED])
def test_a_planted_mistake_is_rejected_where_it_is(pair: str, mistake: type, tensor: str) -> None:
    original: Any = REGISTRY[pair]

    report = check([dataclasses.replace(original, scratch=mistake)])

    assert not report.ok
    assert report.wrong[0].tensor == tensor, report.headline()
    assert report.headline().startswith(f"wrong: {tensor} of {pair}")


@pytest.mark.parametrize("pair", sorted({pair for pair, _, _ in PLANTED}))
def test_the_original_passes(pair: str) -> None:
    report = check([REGISTRY[pair]])
    assert report.ok, report.headline()
