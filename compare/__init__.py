"""The twins side by side: what they compute is compared, and they are trained in lockstep.

    verify/      layers, losses, optimizers and models against their twins: a report
    training/    both models on the same batches, to TensorBoard

Below both stand the registry of pairs, the copying of weights, the inputs and the error bounds. This package alone
knows both `scratch` and `torch_ref`.
"""
