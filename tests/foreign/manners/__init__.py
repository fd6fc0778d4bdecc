"""Right layers in as many manners as people have of writing them, a file each; and what tells how each is driven.

`tests/foreign/against_torch` proves each right without gradtwin: `tests/test_manners_right.py` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Manner:
    """One right layer of somebody's.

    Attributes:
        name: of the file, without ".py".
        target: what is diagnosed, as on a command line behind "FILE.py:".
        like: what it is compared with, as for `--like`.
        evidence: what in the file tells how it is to be driven; empty if nothing does.
        option: arguments of `compare.diagnose`. Without evidence: with them it must be right. With evidence: what no
            evidence tells (the name of a weight, say), so that it is always given.
    """

    name: str
    target: str
    like: str
    evidence: str = ""
    option: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of `compare.diagnose` that are always given."""
        return dict(self.option) if self.evidence else {}


def path(manner: Manner) -> Path:
    """Its file."""
    return Path(__file__).with_name(f"{manner.name}.py")


NATURAL = "the natural reading: batches in torch's order"
LIST = {
    "parameters": {"params[0]": "weight:IO", "params[1]": "bias"},
    "gradients": {"grads[0]": "weight", "grads[1]": "bias"},
}
W0 = {"parameters": {"w0": "bias"}, "gradients": {"grad_w0": "bias"}}

MANNERS = (
    # Convolutions
    Manner("conv_im2col", "ConvLayer", "conv2d", "N, C, H, W = x_shape"),
    Manner(
        "conv_keras_like", "Conv2D", "conv2d", "n, h, w, c = x.shape; channels_last; kernels made (kh, kw, in, out)"
    ),
    Manner("conv_with_param_dict", "conv_forward_fast,conv_backward_fast", "conv2d", "docstring: (N, C, H, W)"),
    Manner(
        "conv_course_cache",
        "conv_forward,conv_backward",
        "Conv2d(2, 3, 3, stride=2, padding=2)",
        "docstring: (m, n_H, n_W, n_C)",
    ),
    Manner("conv_course_four_axes", "conv_forward,conv_backward", "conv2d", "(m, n_H_prev, n_W_prev, n_C_prev) = ..."),
    Manner("conv_one_chw", "Conv(2, 4, 3)", "Conv2d(2, 4, 3)", "c, h, w = image.shape"),
    Manner("conv_one_hwc", "ConvolutionLayer(4, 3)", "Conv2d(3, 4, 3)", "h, w, c = image.shape"),
    Manner(
        "conv_mnist_gray", "Conv3x3(8)", "Conv2d(1, 8, 3, bias=False)", "h, w = image.shape; im of zip(images, labels)"
    ),
    Manner("conv_scipy_signal", "Convolutional(2, 3, 4)", "Conv2d(2, 4, 3)", "docstring: (depth, height, width)"),
    Manner(
        "conv_input_shape",
        "Convolutional((1, 28, 28), 5, 3)",
        "Conv2d(1, 3, 5)",
        "input_shape in its call, an attribute",
    ),
    Manner("conv_as_strided", "Conv2d", "conv2d", "n, c, h, w = x.shape"),
    Manner("conv_in_out_kernels", "Conv", "conv2d", "docstring: kernels (in, out, k, k), batches N x C x H x W"),
    Manner("conv_square_only", "Conv2D(2, 3, 3)", "Conv2d(2, 3, 3)", "N, C, H, W = X.shape"),
    Manner("conv_same_odd", "SameConv(3, 4)", "Conv2d(3, 4, 3, padding=1)", NATURAL),
    Manner("conv_nine_shifts", "Conv3x3(2, 3)", "Conv2d(2, 3, 3)", NATURAL),
    Manner("conv_closure", "conv_layer", "conv2d", "N, C, H, Wd = x.shape"),
    Manner("conv_float32", "Conv2D", "conv2d", NATURAL),
    Manner(
        "conv_base_layer",
        "Conv2D(4, (3, 2), 3, padding=1)",
        "Conv2d(3, 4, (3, 2), padding=1)",
        "batch_size, channels, height, width = X.shape",
    ),
    Manner(
        "conv_used_with_zip", "Conv(3, 2, 4)", "Conv2d(2, 4, 3)", "im of zip(images, labels), images (10, 32, 32, 3)"
    ),
    Manner("conv_dataclass", "Conv2d(2, 3, 3)", "Conv2d(2, 3, 3)", "batch, _, height, width = x.shape"),
    Manner("conv_static_methods", "ConvOp.forward,ConvOp.backward", "Conv2d(2, 3, 3)", "n, c, h, w = x.shape"),
    Manner(
        "conv_gray_batch", "GrayConv(4, 3)", "Conv2d(1, 4, 3)", "docstring: (batch, height, width) -> (batch, n, ...)"
    ),
    # Pooling
    Manner("maxpool_even_assert", "MaxPool(2)", "MaxPool2d(2)", "n, c, h, w = x.shape"),
    Manner("maxpool_even_raise", "MaxPool", "maxpool2d", "n, c, h, w = x.shape"),
    Manner("maxpool_loops", "MaxPool2D", "maxpool2d", "B, C, H, W = x.shape"),
    Manner(
        "pool_course_mode", "pool_forward,pool_backward", "maxpool2d", "docstring: (m, n_H_prev, n_W_prev, n_C_prev)"
    ),
    Manner("maxpool_2x2_hwc", "MaxPool2", "MaxPool2d(2)", "h, w, num_filters = input.shape"),
    Manner("maxpool_one_chw", "Pooling(3, 2)", "MaxPool2d(3, 2)", "depth, rows, columns = maps.shape"),
    Manner("maxpool_nhwc", "MaxPooling2D", "maxpool2d", "n, h, w, c = x.shape"),
    Manner("maxpool_padded", "MaxPool2d", "maxpool2d", "n, c, h, w = xp.shape"),
    Manner("maxpool_gray", "Pool", "MaxPool2d(2)", "h, w = img.shape"),
    Manner("maxpool_im2col", "Pooling", "maxpool2d", "N, C, H, W = x.shape"),
    Manner("maxpool_sibling", "Pool", "MaxPool2d(2)", "the convolution beside it: h, w, c = x.shape"),
    Manner("avgpool_reshape", "AvgPool2d", "avgpool2d", "n, c, h, w = x.shape"),
    Manner("avgpool_nhwc", "AveragePooling2D", "avgpool2d", "docstring: (batch, height, width, channels)"),
    Manner("avgpool_kron", "MeanPool", "AvgPool2d(2)", "H, W = feature_map.shape"),
    Manner("avgpool_one_hwc", "AvgPool(2)", "AvgPool2d(2)", "annotation: 'height, width, channels'"),
    # Activations and flatten
    Manner("relu_mask", "Relu", "relu", NATURAL),
    Manner("relu_and_prime", "relu,relu_prime", "relu", NATURAL),
    Manner("relu_course", "relu,relu_backward", "relu", NATURAL),
    Manner("relu_activation_layer", "ReLU", "relu", NATURAL),
    Manner("leaky_relu", "LeakyReLU", "LeakyReLU()", NATURAL),
    Manner("sigmoid_functions", "sigmoid,sigmoid_prime", "Sigmoid()", NATURAL),
    Manner("tanh_class", "Tanh", "Tanh()", NATURAL),
    Manner("gelu_tanh", "GELU", "GELU('tanh')", NATURAL),
    Manner("elu_backward_again", "ELU", "ELU()", NATURAL),
    Manner("flatten_batch", "Flatten", "flatten", NATURAL),
    Manner("flatten_one", "Flatten", "flatten", option={"layout": "CHW"}),
    Manner(
        "flatten_to_columns", "flatten_forward,flatten_backward", "flatten", "docstring: (m, n_C, n_H, n_W) -> (n, m)"
    ),
    Manner("flatten_maps_to_column", "Reshape", "flatten", "docstring: (depth, height, width) -> (n, 1)"),
    # Normalisation and dropout
    Manner("batchnorm_modes", "BatchNorm2d", "batchnorm2d", NATURAL),
    Manner(
        "batchnorm_functions",
        "spatial_batchnorm_forward,spatial_batchnorm_backward",
        "batchnorm2d",
        "docstring: (N, C, H, W)",
    ),
    Manner("batchnorm_channels_last", "BatchNormalization", "batchnorm2d", "b, h, w, ch = x.shape"),
    Manner("batchnorm_training_only", "BN(3)", "BatchNorm2d(3, track_running_stats=False)", "docstring: N,C,H,W"),
    Manner("dropout_inverted", "Dropout", "dropout", NATURAL),
    Manner("dropout_flag", "Dropout", "dropout", NATURAL),
    Manner("dropout_functions", "dropout_forward,dropout_backward", "dropout", NATURAL),
    # Dense layers
    Manner("dense_in_out", "Layer_Dense", "linear", "its weights are made (n_inputs, n_neurons)"),
    Manner("dense_course_columns", "linear_forward,linear_backward", "linear", "docstring: (size, number of examples)"),
    Manner("dense_columns_class", "Linear", "linear", "its bias is (n_out, 1); m = X.shape[1]"),
    Manner("dense_one_column", "Dense", "linear", "its bias is (output_size, 1); x of zip(X, Y), X (4, 2, 1)"),
    Manner("dense_one_vector", "Dense", "linear", "docstring: a single sample, a plain vector (n_in,)"),
    Manner("dense_fc_rows", "FCLayer", "linear", "comment: (1, 784); its bias is (1, output_size)"),
    Manner("dense_square", "Mixing(6)", "Linear(6, 6, bias=False)", option={"parameters": {"W": "weight:IO"}}),
    Manner("dense_square_call", "Dense(6, 6)", "Linear(6, 6)", "Dense(784, 6) has weights (784, 6)"),
    Manner("dense_square_einsum", "Affine(6, 6)", "Linear(6, 6)", NATURAL),
    Manner("dense_param_objects", "FullyConnectedLayer", "linear", "its weights are made (n_input, n_output)"),
    Manner(
        "dense_w0_bias", "Dense(4, (7,))", "Linear(7, 4)", "its weights are made (input_shape[0], n_units)", option=W0
    ),
    Manner("dense_params_list", "MatMulAdd", "linear", "W, b = self.params", option=LIST),
    Manner("dense_flattens", "Affine", "linear", "dx = dout @ W.T, and dW = x.T @ dout"),
    Manner("dense_lazy", "Dense(4)", "Linear(7, 4)", "its kernel is made (n_features, units)"),
    Manner("dense_loops", "Linear", "linear", NATURAL),
    Manner("dense_softmax_layer", "Softmax(12, 4)", "Sequential(Linear(12, 4), Softmax(1))", "flat = input.flatten()"),
    Manner(
        "dense_softmax_batch",
        "OutputLayer(np.zeros((4, 12)), np.zeros(4))",
        "Sequential(Linear(12, 4), Softmax(1))",
        NATURAL,
    ),
    # Softmax and losses
    Manner("softmax_jacobian", "Activation_Softmax", "Softmax(1)", NATURAL),
    Manner("softmax_vector", "Softmax", "Softmax(1)", option={"layout": "C"}),
    # The dense layer beside it has a bias (output_size, 1): columns, but one or many?
    Manner("softmax_column", "Softmax", "Softmax(1)", option={"layout": "C1"}),
    Manner(
        "softmax_course_columns", "softmax,softmax_backward", "Softmax(1)", "docstring: (number of classes, m examples)"
    ),
    Manner("softmax_last_axis", "Softmax", "softmax", NATURAL),
    Manner("softmax_list_of_floats", "softmax,softmax_backward", "Softmax(1)", "docstring: for one example"),
    Manner("log_softmax_rows", "LogSoftmax", "LogSoftmax(1)", NATURAL),
    Manner("log_softmax_one", "LogSoftMax", "log_softmax", "docstring: one example, (n_classes,)"),
    Manner("ce_class_indices", "CrossEntropyLoss", "cross_entropy", NATURAL),
    Manner("ce_one_hot", "SoftmaxCrossEntropy", "cross_entropy", "comment: y_true is one hot encoded"),
    Manner("ce_loss_and_grad", "softmax_loss", "cross_entropy", "docstring: labels of shape (N,), y[i] < C"),
    Manner("ce_one_example", "Loss", "cross_entropy", "docstring: one example; label of zip(images, labels)"),
    Manner("ce_logsumexp", "CrossEntropy", "cross_entropy", "N, K = x.shape"),
    Manner(
        "ce_course_columns", "SoftmaxCost", "CrossEntropyLoss()", "docstring: (number of classes, m), one-hot columns"
    ),
    Manner("ce_flexible_targets", "SoftmaxWithLoss", "cross_entropy", NATURAL),
    Manner("mse_prime", "mse,mse_prime", "MSELoss()", NATURAL),
    Manner("mse_class", "MSE", "MSELoss()", NATURAL),
    # Optimizers
    Manner("sgd_momentum", "SGD", "sgd", NATURAL),
    Manner("sgd_of_parameters", "SGD", "sgd", NATURAL),
    Manner("sgd_config", "sgd_momentum", "sgd", NATURAL),
    Manner("adam_dicts", "Adam", "adam", NATURAL),
    Manner("adam_one_weight", "Adam", "adam", NATURAL),
    Manner("adam_lists", "Adam", "adam", NATURAL),
)
