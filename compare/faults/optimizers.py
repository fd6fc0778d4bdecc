"""Mistakes in optimizers."""

from __future__ import annotations

from compare.faults.fault import Fault


def _sgd(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"sgd-{name}", "sgd", "scratch.optim.SGD", made, hint, shows, edits)


_DECAY = "g = g + self.weight_decay * parameter.data  # (1)"
_FIRST = "v = self.velocity[index] = g.copy()"
_VELOCITY = "v += (1 - self.dampening) * g if self.dampening else g"
_LOOK = "g = g + self.momentum * v if self.nesterov else v"
_UPDATE = "parameter.data -= self.lr * g  # (4)"

SGD: tuple[Fault, ...] = (
    _sgd(
        "velocity-averaged",
        "The velocity is a moving average, μ·v + (1 - μ)·g; torch's adds the whole gradient, μ·v + g.",
        "How large is the first step, with momentum and without?",
        "The first step is (1 - μ) times as large; hidden without momentum.",
        (_FIRST, "v = self.velocity[index] = (1 - self.momentum) * g"),
        (_VELOCITY, "v += (1 - self.momentum) * g"),
    ),
    _sgd(
        "first-step-dampened",
        "Dampening is applied to the first step too; torch leaves it alone.",
        "How large is the first step, with dampening and without?",
        "The first step is (1 - dampening) times as large; hidden without dampening.",
        (_FIRST, "v = self.velocity[index] = (1 - self.dampening) * g"),
    ),
    _sgd(
        "dampening-ignored",
        "Dampening has no effect.",
        "Try two steps with dampening.",
        "Wrong from the second step on; hidden without dampening.",
        (_VELOCITY, "v += g"),
    ),
    _sgd(
        "always-nesterov",
        "Nesterov's look-ahead is made although plain momentum was asked for.",
        "How large is the first step, with momentum and without?",
        "The first step is (1 + μ) times as large; hidden without momentum.",
        (_LOOK, "g = g + self.momentum * v"),
    ),
    _sgd(
        "never-nesterov",
        "Nesterov's look-ahead is never made.",
        "Compare a first step with Nesterov to one without.",
        "Plain momentum; hidden if Nesterov is never tried.",
        (_LOOK, "g = v"),
    ),
    _sgd(
        "decay-decoupled",
        "Weight decay is taken off the weights directly, as in AdamW; torch's SGD adds it to the gradient.",
        "Try weight decay together with momentum, for two steps.",
        "With momentum, wrong from the second step on; hidden without weight decay.",
        (_DECAY, "parameter.data *= 1 - self.lr * self.weight_decay  # (1)"),
    ),
    _sgd(
        "decay-skipped-on-biases",
        "Weight decay leaves vectors (biases) alone; torch's decays every parameter it is given.",
        "Give all gradients the value 0.",
        "Biases are wrong; hidden by zero biases.",
        ("if self.weight_decay:", "if self.weight_decay and parameter.data.ndim > 1:"),
    ),
    _sgd(
        "decay-sign",
        "Weight decay makes the weights grow.",
        "Give all gradients the value 0: do the weights shrink?",
        "The weights move away from 0; hidden without weight decay.",
        (_DECAY, _DECAY.replace("g + self", "g - self")),
    ),
    _sgd(
        "decay-into-gradient",
        "Weight decay is added into the gradient array itself, in place.",
        "Look at the gradients after a step.",
        "The gradients after use differ, the weights are right; hidden if only the weights are looked at.",
        (_DECAY, "g += self.weight_decay * parameter.data  # (1)"),
    ),
    _sgd(
        "rate-in-velocity",
        "The learning rate is multiplied into the velocity; torch's stands outside it.",
        "Change the learning rate between two steps.",
        "Wrong once the learning rate changes; hidden by a constant one.",
        (_FIRST, "v = self.velocity[index] = self.lr * g"),
        (_VELOCITY, "v += self.lr * (1 - self.dampening) * g"),
        (_LOOK, "g = self.lr * g + self.momentum * v if self.nesterov else v"),
        (_UPDATE, "parameter.data -= g if self.momentum else self.lr * g  # (4)"),
    ),
    _sgd(
        "rate-of-start",
        "The learning rate of the start is used for ever: a schedule has no effect.",
        "Change the learning rate between two steps.",
        "Wrong once the learning rate changes; hidden by a constant one.",
        ("        self.momentum = momentum\n", "        self.momentum = momentum\n        self.start_lr = lr\n"),
        (_UPDATE, _UPDATE.replace("self.lr", "self.start_lr")),
    ),
    _sgd(
        "velocity-forgotten",
        "The velocity is never stored: each step begins at rest.",
        "Take two equal steps with momentum: is the second one longer?",
        "Wrong from the second step on; hidden by a single step.",
        (_FIRST, "v = g.copy()"),
    ),
    _sgd(
        "ascent",
        "The gradient is added to the weights: the loss is climbed.",
        "Does the loss fall?",
        "The update has the wrong sign.",
        (_UPDATE, _UPDATE.replace("-=", "+=")),
    ),
    _sgd(
        "not-in-place",
        "A new array is made and the parameter's own one stays unchanged: the model never learns.",
        "Keep a reference to the weight's array before the step, and look at it afterwards.",
        "The weights stay as they were; hidden by a tolerance larger than the update.",
        (_UPDATE, "parameter = Parameter(parameter.data - self.lr * g)  # (4)"),
    ),
    _sgd(
        "zero-grad-does-nothing",
        "zero_grad leaves the gradients where they are: each step adds to the last.",
        "Look at a gradient after zero_grad.",
        "Gradients grow with the step; hidden by a single step.",
        ("            parameter.grad = None\n", "            parameter.grad = parameter.grad\n"),
    ),
    _sgd(
        "rate-twice",
        "The update is multiplied by the learning rate twice.",
        "How long is a step for a gradient of 1?",
        "The ratio of the update to the right one is lr.",
        (_UPDATE, _UPDATE.replace("self.lr * g", "self.lr * self.lr * g")),
    ),
    _sgd(
        "sign-only",
        "Only the sign of the gradient is used.",
        "Try gradients of very different sizes.",
        "All updates are equally long.",
        (_UPDATE, _UPDATE.replace("self.lr * g", "self.lr * np.sign(g)")),
    ),
)


def _adam(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"adam-{name}", "adam", "scratch.optim.Adam", made, hint, shows, edits)


_ADAM = "parameter.data -= step_size * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + self.eps)"
_STEP_SIZE = "step_size = self.lr / (1 - beta1**t)"

ADAM: tuple[Fault, ...] = (
    _adam(
        "no-bias-correction",
        "The moments are used as they are; they begin at 0 and must be divided by 1 - βᵗ.",
        "How long is the very first step?",
        "The first step is 0.1/√0.001 times as long; hidden after many steps.",
        (_STEP_SIZE, "step_size = self.lr"),
        (_ADAM, "parameter.data -= step_size * m / (np.sqrt(v) + self.eps)"),
    ),
    _adam(
        "first-moment-uncorrected",
        "Only the second moment is corrected for its start at 0.",
        "How long is the very first step?",
        "The first step is (1 - β₁) times as long; hidden after many steps.",
        (_STEP_SIZE, "step_size = self.lr"),
    ),
    _adam(
        "second-moment-uncorrected",
        "Only the first moment is corrected for its start at 0.",
        "How long is the very first step?",
        "The first step is 1/√(1 - β₂) times as long; hidden after many steps.",
        (_ADAM, "parameter.data -= step_size * m / (np.sqrt(v) + self.eps)"),
    ),
    _adam(
        "steps-counted-per-tensor",
        "The step is counted once for every tensor; one step updates them all.",
        "Try an optimizer of two parameters.",
        "Later parameters are wrong, the first one is right; hidden by a single parameter.",
        ("t += 1", 'self.count = t = getattr(self, "count", 0) + 1'),
    ),
    _adam(
        "a-step-behind",
        "The correction uses the number of the steps before this one.",
        "What is 1 - βᵗ at the second step?",
        "Wrong from the second step on; hidden by a single step.",
        (_STEP_SIZE, "step_size = self.lr / (1 - beta1 ** max(t - 1, 1))"),
        (_ADAM, _ADAM.replace("beta2**t", "beta2 ** max(t - 1, 1)")),
    ),
    _adam(
        "eps-inside-root",
        "ε stands inside the root; it must be added after it.",
        "Try gradients as small as ε.",
        "Wrong for |g| ≲ √ε only; hidden by ordinary gradients.",
        (_ADAM, "parameter.data -= step_size * m / np.sqrt(v / (1 - beta2**t) + self.eps)"),
    ),
    _adam(
        "eps-before-correction",
        "ε is added before the correction of the second moment, which then scales it too.",
        "Try gradients as small as ε.",
        "Wrong for small gradients only; hidden by ordinary ones.",
        (_ADAM, "parameter.data -= step_size * m / ((np.sqrt(v) + self.eps) / math.sqrt(1 - beta2**t))"),
    ),
    _adam(
        "betas-exchanged",
        "β₁ and β₂ are exchanged.",
        "Which of the two averages is meant to be the longer one?",
        "Wrong from the second step on; hidden by a single step.",
        ("beta1, beta2 = self.betas", "beta2, beta1 = self.betas"),
    ),
    _adam(
        "root-forgotten",
        "The update is divided by v; it must be divided by its root.",
        "How does the step change if all gradients are ten times as large?",
        "Small gradients give enormous steps.",
        (_ADAM, "parameter.data -= step_size * m / (v / (1 - beta2**t) + self.eps)"),
    ),
    _adam(
        "square-forgotten",
        "The second moment averages |g|; it must average g².",
        "Of what is v the average?",
        "Wrong unless all gradients are equally large.",
        ("(1 - beta2) * (g * g)", "(1 - beta2) * np.abs(g)"),
    ),
    _adam(
        "decay-decoupled",
        "Weight decay is taken off the weights directly, as in AdamW; torch's Adam adds it to the gradient.",
        "Try weight decay with small gradients.",
        "Wrong with weight decay only.",
        ("g = g + self.weight_decay * parameter.data", "parameter.data *= 1 - self.lr * self.weight_decay"),
    ),
    _adam(
        "decay-ignored",
        "Weight decay has no effect.",
        "Give all gradients the value 0: do the weights shrink?",
        "Wrong with weight decay only.",
        ("g = g + self.weight_decay * parameter.data", "pass"),
    ),
    _adam(
        "moments-forgotten",
        "The moments are never stored: each step is a first step.",
        "Take two steps with gradients of opposite sign.",
        "Wrong from the second step on; hidden by a single step.",
        ("self.moments[index] = m, v, t", "self.moments[index] = None"),
    ),
    _adam(
        "not-in-place",
        "A new array is made and the parameter's own one stays unchanged: the model never learns.",
        "Keep a reference to the weight's array before the step, and look at it afterwards.",
        "The weights stay as they were; hidden by a tolerance larger than the update.",
        (_ADAM, _ADAM.replace("parameter.data -= ", "parameter = Parameter(parameter.data - ") + ")"),
    ),
)
FAULTS = (*SGD, *ADAM)
