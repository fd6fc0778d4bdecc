"""Each layer called once in NumPy. Read this beside `with_torch.py`: the difference is that backward is called."""

# A layer has a bias unless it is told otherwise.
# mypy: disable-error-code="union-attr"

from __future__ import annotations

from typing import Any

import scratch
from scratch import Array

Results = dict[str, Any]


def conv2d(x: Array, weight: Array, bias: Array, grad_output: Array) -> Results:
    """One map to one map, with a kernel of 2x2."""
    layer = scratch.Conv2d(1, 1, kernel_size=2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": grad_input,  # (4)
    }


def relu(x: Array, grad_output: Array) -> Results:
    """Any shape."""
    layer = scratch.ReLU()
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def maxpool2d(x: Array, grad_output: Array) -> Results:
    """Windows of 2x2 side by side."""
    layer = scratch.MaxPool2d(2)
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def flatten(x: Array, grad_output: Array) -> Results:
    """Maps to a row."""
    layer = scratch.Flatten()
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def linear(x: Array, weight: Array, bias: Array, grad_output: Array) -> Results:
    """Two numbers to two numbers."""
    layer = scratch.Linear(2, 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": grad_input,  # (4)
    }


def softmax(x: Array, grad_output: Array) -> Results:
    """Along a row."""
    layer = scratch.Softmax(dim=-1)
    p = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": p, "grad_input": grad_input}  # (2)


def cross_entropy(x: Array, targets: Array) -> Results:
    """The loss of each image, and their mean."""
    losses = scratch.CrossEntropyLoss(reduction="none")(x, targets)  # (1)
    criterion = scratch.CrossEntropyLoss()
    loss = criterion(x, targets)  # (2)
    grad_input = criterion.backward()
    return {"losses": losses, "output": loss, "grad_input": grad_input}  # (3)


def sgd(weight: Array, gradients: Array) -> Results:
    """One step for each of the gradients, with momentum and weight decay."""
    parameter = scratch.Parameter(weight)
    optimizer = scratch.SGD([parameter], lr=0.1, momentum=0.5, weight_decay=0.25)
    for gradient in gradients:
        parameter.grad = gradient.copy()
        optimizer.step()
    return {
        "velocity": optimizer.velocity[0],  # (2)
        "weight": parameter.data,  # (4)
    }
