"""The reference: the same networks in stock `torch.nn`, and the MNIST of torchvision with its kin."""

from torch_ref.data import class_names, fetch_mnist, load_mnist
from torch_ref.model import CNN, LeNet5
from torch_ref.train import evaluate, predict, train_step

__all__ = ["CNN", "LeNet5", "class_names", "evaluate", "fetch_mnist", "load_mnist", "predict", "train_step"]
