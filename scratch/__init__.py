"""A convolutional network from scratch: NumPy and the standard library, nothing else.

Names, shapes and defaults are PyTorch's, so that this package reads line by line beside `torch.nn`. The one deliberate
departure is the missing autograd: every layer has a `backward(grad_output) -> grad_input` directly under its `forward`.
"""

from scratch.activation import LogSoftmax, ReLU, Softmax, log_softmax, softmax
from scratch.conv import Conv2d
from scratch.data import IDXError, load_mnist, read_idx
from scratch.dropout import Dropout
from scratch.linear import Flatten, Linear
from scratch.loss import CrossEntropyLoss
from scratch.model import CNN, LeNet5
from scratch.module import Array, Buffer, Module, Parameter, Sequential
from scratch.norm import BatchNorm2d
from scratch.optim import SGD, Adam, Optimizer
from scratch.parallel import DataParallel
from scratch.pool import AvgPool2d, MaxPool2d
from scratch.train import evaluate, predict, train_step

__all__ = [
    "CNN",
    "SGD",
    "Adam",
    "Array",
    "AvgPool2d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "DataParallel",
    "Dropout",
    "Flatten",
    "IDXError",
    "LeNet5",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "Optimizer",
    "Parameter",
    "ReLU",
    "Sequential",
    "Softmax",
    "evaluate",
    "load_mnist",
    "log_softmax",
    "predict",
    "read_idx",
    "softmax",
    "train_step",
]
