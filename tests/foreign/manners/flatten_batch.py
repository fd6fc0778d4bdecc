class Flatten:
    def forward(self, x):
        self.prev_shape = x.shape
        return x.reshape(x.shape[0], -1)

    def backward(self, grad):
        return grad.reshape(self.prev_shape)
