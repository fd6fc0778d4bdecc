"""Mistakes between the layers: in the model, and in the training step."""

from __future__ import annotations

from compare.faults.fault import Fault


def _cnn(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"cnn-{name}", "cnn", "scratch.model.CNN", made, hint, shows, edits)


def _training(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"training-{name}", "cnn", "scratch.train.train_step", made, hint, shows, edits)


_FIRST = "x = self.relu1(self.conv1(x))  # (N, 8, 26, 26)"
_LAST = "return self.fc1(x)  # (N, num_classes)"
_BACK = "return self.relu1.backward(g)"
_GRAD_INPUT = "return self.conv1.backward(self._backward_to_conv1(grad_output))"
_LEARN = "    model.backward_parameters(grad_logits)  # nobody learns from the gradient of the images\n"
_SOFTMAX = ("from scratch.activation import ReLU\n", "from scratch.activation import ReLU, softmax\n")

FAULTS: tuple[Fault, ...] = (
    _cnn(
        "images-by-256",
        "The images are divided by 256; their greatest value is 255.",
        "Which number does a white pixel become?",
        "Small differences everywhere; hidden by loose tolerances.",
        (_FIRST, "x = self.relu1(self.conv1(x * (255 / 256)))  # (N, 8, 26, 26)"),
    ),
    _cnn(
        "relu-not-in-backward",
        "Backward skips the ReLU.",
        "Count the layers in forward and in backward.",
        "The gradients of the layers before it are wrong, those after it exact.",
        (_BACK, "return g"),
    ),
    _cnn(
        "relu-missing",
        "The ReLU is left out, forward and backward.",
        "Are the feature maps ever negative?",
        "Everything after it is wrong.",
        (_FIRST, "x = self.conv1(x)  # (N, 8, 26, 26)"),
        (_BACK, "return g"),
    ),
    _cnn(
        "softmax-before-loss",
        "The model ends with a softmax, and the loss makes another: softmax twice.",
        "Do the scores of an image add up to 1?",
        "The scores are probabilities; learning is slow.",
        _SOFTMAX,
        (_LAST, "return softmax(self.fc1(x), 1)  # (N, num_classes)"),
    ),
    _cnn(
        "softmax-in-evaluation",
        "In evaluation the model gives probabilities, in training scores.",
        "Compare the outputs of training and evaluation mode.",
        "Wrong in evaluation mode only; hidden by looking at the accuracy.",
        _SOFTMAX,
        (_LAST, "return self.fc1(x) if self.training else softmax(self.fc1(x), 1)  # (N, num_classes)"),
    ),
    _cnn(
        "channels-last-flatten",
        "The maps are flattened with the channels last; torch flattens them with the channels first.",
        "Load weights that torch has trained, and compare the scores.",
        "The linear layer's weight is a column permutation; hidden as long as no weights are exchanged.",
        ("x = self.flatten(x)  # (N, 1352)", "x = self.flatten(x.transpose(0, 2, 3, 1))  # (N, 1352)"),
        ("g = self.pool1.backward(g)\n", "g = self.pool1.backward(g.transpose(0, 3, 1, 2))\n"),
    ),
    _cnn(
        "grad-input-zero",
        "The gradient of the images is zero.",
        "What does backward of the whole model return?",
        "grad_input is zero; hidden because training never needs it.",
        (_GRAD_INPUT, _GRAD_INPUT.replace("self.conv1", "0 * self.conv1")),
    ),
    _cnn(
        "gradient-stops",
        "The gradient stops before the convolution, which never learns.",
        "Look at the filters before and after training.",
        "The convolution has no gradient; hidden because the linear layer learns alone.",
        (_BACK, "return 0 * self.relu1.backward(g)"),
    ),
    _training(
        "gradients-never-zeroed",
        "The gradients are never set to zero between steps: each step adds to the last.",
        "Print the norm of the gradient for a few steps.",
        "Wrong from the second step on, and growing; hidden by a single step.",
        ("    optimizer.zero_grad()\n", ""),
    ),
    _training(
        "labels-shuffled",
        "Images and labels are in different orders.",
        "Look at some images with their labels.",
        "The loss is wrong, accuracy stays at chance; hidden if nothing is trained.",
        ("loss = criterion(logits, labels)", "loss = criterion(logits, labels[::-1])"),
    ),
    _training(
        "step-before-backward",
        "The optimizer steps before the gradients are computed: each step uses the batch before.",
        "In which order do forward, backward and step come?",
        "The first step does nothing, each later one is that of the batch before.",
        (
            "    optimizer.zero_grad()\n    logits = model(images)",
            "    optimizer.step()\n    optimizer.zero_grad()\n    logits = model(images)",
        ),
        (_LEARN + "    optimizer.step()\n", _LEARN),
    ),
    _training(
        "gradient-summed",
        "The gradient is multiplied by the batch size: a learning rate N times too large.",
        "Repeat every image of a batch: must the update change?",
        "Updates are N times too large; hidden by a small learning rate.",
        ("grad_logits = criterion.backward()", "grad_logits = criterion.backward() * len(labels)"),
    ),
    _training(
        "loss-after-update",
        "The loss that is reported is that after the update.",
        "At which moment is the loss computed that you print?",
        "The reported loss is too small, the weights are right.",
        ("return float(loss), int(", "return float(criterion(model(images), labels)), int("),
    ),
    _training(
        "no-step",
        "The optimizer never steps: nothing is learnt.",
        "Compare the weights before and after.",
        "The weights stay as they were; hidden by a tolerance larger than the update.",
        (_LEARN + "    optimizer.step()\n", _LEARN),
    ),
)
