"""no numpy magic, just the formula"""

import numpy as np


class Linear:
    def __init__(self, in_features, out_features):
        self.weight = np.zeros((out_features, in_features))
        self.bias = np.zeros(out_features)

    def forward(self, batch):
        self.batch = batch
        result = []
        for example in batch:
            row = []
            for o in range(len(self.bias)):
                s = self.bias[o]
                for i in range(len(example)):
                    s += self.weight[o][i] * example[i]
                row.append(s)
            result.append(row)
        return np.array(result)

    def backward(self, grad):
        self.dweight = np.zeros(self.weight.shape)
        self.dbias = np.zeros(self.bias.shape)
        dbatch = np.zeros(self.batch.shape)
        for n in range(len(grad)):
            for o in range(len(self.bias)):
                self.dbias[o] += grad[n][o]
                for i in range(self.batch.shape[1]):
                    self.dweight[o][i] += grad[n][o] * self.batch[n][i]
                    dbatch[n][i] += grad[n][o] * self.weight[o][i]
        return dbatch
