class SGD:
    def __init__(self, lr=0.01, momentum=0.0):
        self.lr = lr
        self.momentum = momentum
        self.v = None

    def update(self, params, grads):
        if self.v is None:
            self.v = {k: g.copy() for k, g in grads.items()}
        else:
            for k, g in grads.items():
                self.v[k] = self.momentum * self.v[k] + g
        for k in params:
            params[k] -= self.lr * self.v[k]
