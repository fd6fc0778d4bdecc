import math


def softmax(scores):
    """scores: the raw outputs of the last layer for one example"""
    biggest = max(scores)
    exps = [math.exp(s - biggest) for s in scores]
    total = sum(exps)
    probs = [e / total for e in exps]
    return probs, probs


def softmax_backward(dprobs, cache):
    dot = sum(d * p for d, p in zip(dprobs, cache))
    return [p * (d - dot) for d, p in zip(dprobs, cache)]
