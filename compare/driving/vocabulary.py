"""What people call things: the words by which arguments, weights and gradients are recognised in somebody's code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from compare.driving.options import Option

FORWARD = ("forward", "__call__", "forward_pass", "feedforward", "feed_forward", "fprop", "predict", "call", "loss")
BACKWARD = (
    "backward",
    "backprop",
    "backward_pass",
    "back_prop",
    "bprop",
    "backpropagate",
    "backpropagation",
    "gradient",
)
OUTPUTS = ("output", "outputs", "out", "last_output", "y", "a", "z", "loss", "predictions")
GRAD_INPUTS = ("dinputs", "dinput", "dx", "grad_input", "grad_inputs", "input_gradient", "grad_x", "d_input", "dX")

INPUT_WORDS = {"x", "input", "inputs", "image", "images", "inp", "data", "logits", "scores", "ypred", "predictions"}
INPUT_WORDS |= {"pred", "preds", "predicted", "yhat", "logit", "lastinput", "inputdata", "xbatch", "batch", "outputs"}
TARGET_WORDS = {"target", "targets", "ytrue", "label", "labels", "y", "t", "true", "truth", "actual", "expected", "gt"}
RATE_WORDS = {"lr", "learningrate", "alpha", "eta", "learnrate", "stepsize", "rate", "learningrates"}
SURELY_RATE_WORDS = {"lr", "learningrate", "learnrate", "stepsize", "learningrates"}
GRADIENT_WORDS = {"g", "dout", "dvalues", "delta", "error", "upstream", "dldout", "dldy", "dy", "dz", "da", "do", "dl"}
GRADIENT_WORDS |= {"accumgrad", "gradoutput", "outputgradient", "dlossdout", "err", "outputerror", "dvalue", "outgrad"}
OUTPUT_WORDS = {"out", "output", "outputs", "y", "z", "a", "values", "value", "l_d_out", "next", "loss_d_out"}
HELD_RATE_WORDS = {"lr", "learningrate", "learnrate", "eta", "stepsize"}  # "rate" may be that of dropout
CACHE_WORDS = {"cache", "ctx", "context", "saved", "memory", "caches"}
MODES = {"train", "training", "test", "testing", "eval", "evaluation", "inference", "valid", "validation"}
MODE_WORDS = {"training", "train", "istraining", "trainflg", "trainflag", "mode", "trainmode", "istrain"}
SETTINGS_WORDS = {"convparam", "poolparam", "bnparam", "dropoutparam", "param", "params", "config", "hparameters"}
SETTINGS_WORDS |= {"hparams", "settings", "options", "opts", "hyperparameters", "kwargs", "conf"}

# An option of a torch constructor, and what others call it.
OPTIONS: dict[str, set[str]] = {
    "in_channels": {"inchannels", "inchannel", "inch", "cin", "channelsin", "inputchannels", "nin", "inc", "ic"}
    | {"numchannels", "channels", "inputdepth", "nchannels", "indepth", "ninputchannels", "infilters", "c", "depthin"},
    "out_channels": {"outchannels", "outchannel", "outch", "cout", "channelsout", "outputchannels", "nout", "outc"}
    | {"numfilters", "nfilters", "filters", "numkernels", "nkernels", "depth", "oc", "f", "outdepth", "kout"},
    "kernel_size": {"kernelsize", "kernel", "ksize", "filtersize", "k", "size", "poolsize", "windowsize", "window"}
    | {"filtershape", "kernelshape", "pool", "ks", "fs", "f", "kernelsizes", "poolshape"},
    "kernel_height": {"kernelheight", "poolh", "poolheight", "kh", "filterh", "filterheight", "fh", "kernelh", "hf"},
    "kernel_width": {"kernelwidth", "poolw", "poolwidth", "kw", "filterw", "filterwidth", "fw", "kernelw", "wf"},
    "stride": {"stride", "strides", "s", "step"},
    "padding": {"padding", "pad", "pads", "p", "zeropadding"},
    "bias": {"bias", "usebias", "withbias", "hasbias"},
    "in_features": {
        "infeatures",
        "ninputs",
        "nin",
        "inputsize",
        "indim",
        "inputdim",
        "insize",
        "inputs",
        "din",
        "inputlen",
    }
    | {"infeature", "ninput", "inputfeatures", "nfeatures", "numinputs", "dimin", "fanin", "inp", "input", "in"},
    "out_features": {
        "outfeatures",
        "nneurons",
        "nout",
        "outputsize",
        "outdim",
        "outputdim",
        "outsize",
        "units",
        "nodes",
    }
    | {
        "outfeature",
        "noutput",
        "outputs",
        "dout",
        "numoutputs",
        "dimout",
        "noutputs",
        "neurons",
        "fanout",
        "out",
        "hidden",
    },
    "num_features": {"numfeatures", "nfeatures", "channels", "features", "dim", "c", "numchannels", "size"},
    "eps": {"eps", "epsilon"},
    "momentum": {"momentum", "mu", "rho", "decay"},
    "affine": {"affine"},
    "p": {"p", "rate", "dropout", "dropoutrate", "dropoutratio", "droprate", "prob", "dropprob", "ratio"},
    "dim": {"dim", "axis"},
    "reduction": {"reduction"},
    "lr": RATE_WORDS,
    "dampening": {"dampening"},
    "weight_decay": {"weightdecay", "wd", "l2", "reg", "lambda", "decay", "lmbda"},
    "nesterov": {"nesterov"},
    "betas": {"betas"},
    "beta1": {"beta1", "b1"},
    "beta2": {"beta2", "b2"},
}
# The settings of functions that take a dictionary get every usual key at once.
SETTINGS_KEYS: dict[str, tuple[str, ...]] = {
    "stride": ("stride", "strides"),
    "padding": ("pad", "padding"),
    "kernel_size": ("kernel_size", "pool_size", "size", "f", "hf"),
    "kernel_height": ("pool_height", "kernel_height"),
    "kernel_width": ("pool_width", "kernel_width"),
    "eps": ("eps", "epsilon"),
    "momentum": ("momentum",),
    "p": ("p",),
    "lr": ("learning_rate", "lr"),
    "weight_decay": ("weight_decay", "reg", "l2"),
}
WEIGHT_WORDS = {"w", "weight", "weights", "kernel", "kernels", "filter", "filters", "theta", "wt", "gamma", "coef"}
BIAS_WORDS = {"b", "bias", "biases", "beta", "intercept", "offset"}
BUFFER_WORDS = {
    "running_mean": {"runningmean", "movingmean", "runmean", "meanrunning", "avgmean"},
    "running_var": {"runningvar", "movingvar", "runvar", "runningvariance", "movingvariance", "varrunning", "avgvar"},
}
_GRADIENT = re.compile(
    r"^(d_?l_?d_?|delta_?|d_?|grads?_of_?|gradient_?|grad_?|nabla_?)(.+)$|^(.+?)(_?grads?|_?gradients?)$"
)


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """`name` without case and underscores: the form in which words are compared.

    >>> plain("learning_rate"), plain("W1")
    ('learningrate', 'w')
    """
    return re.sub(r"[\d_\W]+", "", name.lower())


def option_of(argument: str, options: set[str]) -> str | None:
    """Which of `options` an argument of this name stands for; None if that cannot be told.

    >>> option_of("num_filters", {"in_channels", "out_channels"})
    'out_channels'
    """
    if argument in options:
        return argument
    words = {plain(argument), argument.lower().replace("_", "")}  # "b1" is not "b2"
    found = [option for option in options if words & {*OPTIONS.get(option, set()), *_called(option)}]
    return found[0] if len(found) == 1 else None


def _called(option: str) -> tuple[str, ...]:
    """What the row of a layer says that others call an option of its."""
    return _CALLED.get(option, ())


_CALLED: dict[str, tuple[str, ...]] = {}


def learn(about: Mapping[str, Option]) -> None:
    """Take over what the rows of layers say that others call their options."""
    _CALLED.update({name: option.called for name, option in about.items() if option.called})


def methods_like(what: str, names: Iterable[str]) -> list[str]:
    """Those of the names that mean "forward" or "backward", the shortest first.

    >>> methods_like("backward", ["forward_propagation", "backward_propagation", "do_backprop"])
    ['do_backprop', 'backward_propagation']
    """
    said = re.compile(r"(^|_)(forward|fprop|fwd)" if what == "forward" else r"(^|_)(back|bprop|bwd)", re.I)
    return sorted((name for name in names if said.search(name)), key=lambda name: (len(name), name))


def same_thing(theirs: str, parameter: str) -> bool:
    """Whether somebody's name `theirs` means torch's `parameter` ("weight", "bias", "running_mean")."""
    words = {"weight": WEIGHT_WORDS, "bias": BIAS_WORDS, **BUFFER_WORDS}.get(parameter, {plain(parameter)})
    return plain(theirs) in words or plain(theirs) == plain(parameter)


def gradient_of(theirs: str) -> str | None:
    """What `theirs` is a gradient of, by the form of the name: "dW", "grad_w", "d_L_d_filters", "weights_grad".

    >>> gradient_of("dW"), gradient_of("weights_grad"), gradient_of("d_L_d_filters"), gradient_of("weights")
    ('w', 'weights', 'filters', None)
    """
    found = _GRADIENT.match(theirs.lower())
    return None if found is None else found.group(2) or found.group(3)
