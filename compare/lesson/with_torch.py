"""Each layer called once in torch. Read this beside `with_scratch.py`; the lesson shows these lines, and runs them.

Every function gives the tensors of one forward and backward pass; those that an equation computes have its number.
"""

# A layer has a bias unless it is told otherwise.
# mypy: disable-error-code="union-attr"

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody gives it

Results = dict[str, Any]


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, grad_output: Tensor) -> Results:
    """One map to one map, with a kernel of 2x2."""
    layer = nn.Conv2d(1, 1, kernel_size=2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": x.grad,  # (4)
    }


def relu(x: Tensor, grad_output: Tensor) -> Results:
    """Any shape."""
    layer = nn.ReLU()
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def maxpool2d(x: Tensor, grad_output: Tensor) -> Results:
    """Windows of 2x2 side by side."""
    layer = nn.MaxPool2d(2)
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def flatten(x: Tensor, grad_output: Tensor) -> Results:
    """Maps to a row."""
    layer = nn.Flatten()
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def linear(x: Tensor, weight: Tensor, bias: Tensor, grad_output: Tensor) -> Results:
    """Two numbers to two numbers."""
    layer = nn.Linear(2, 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": x.grad,  # (4)
    }


def softmax(x: Tensor, grad_output: Tensor) -> Results:
    """Along a row."""
    layer = nn.Softmax(dim=-1)
    p = layer(x)  # (1)
    p.backward(grad_output)
    return {"output": p, "grad_input": x.grad}  # (2)


def cross_entropy(x: Tensor, targets: Tensor) -> Results:
    """The loss of each image, and their mean."""
    losses = F.cross_entropy(x, targets, reduction="none")  # (1)
    loss = nn.CrossEntropyLoss()(x, targets)  # (2)
    loss.backward()
    return {"losses": losses, "output": loss, "grad_input": x.grad}  # (3)


def sgd(weight: Tensor, gradients: Tensor) -> Results:
    """One step for each of the gradients, with momentum and weight decay."""
    parameter = nn.Parameter(weight)
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.5, weight_decay=0.25)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return {
        "velocity": optimizer.state[parameter]["momentum_buffer"],  # (2)
        "weight": parameter,  # (4)
    }
