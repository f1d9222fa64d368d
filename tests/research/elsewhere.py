"""Do the masked and the lifted ReLU cost anything where the recipe already works? Accuracies by the reference program.

    python3 elsewhere.py DIGITS SEEDS [NAME...]
"""
import sys

import numpy as np

from check import digits, lifting, train
from integer_training_reference import LayerNorm, MaxPool, Flatten, Net

Dense, Conv2d = lifting.Dense, lifting.Conv2d
NETS = {    # layers, epochs, learning rate, input shape
    "mlp": (lambda a: [Dense(64, 32, a), Dense(32, 10)], 30, (128, -9), None),
    "cnn": (lambda a: [Conv2d(1, 8, 3, 1, a), MaxPool(), Conv2d(8, 16, 3, 1, a), MaxPool(), Flatten(), Dense(64, 10)], 15, (128, -9), (8, 8, 1)),
    "layernorm": (lambda a: [Dense(64, 32, a), LayerNorm(32), Dense(32, 32, a), LayerNorm(32), Dense(32, 10)], 20, (128, -10), None),
}

if __name__ == "__main__":
    data = digits(sys.argv[1])
    for name in sys.argv[3:] or NETS:
        layers_of, epochs, lr, shape = NETS[name]
        for act in ("relu", "masked", "lifted"):
            r = [train(Net(layers_of(act), "i8", s), "i8", data, epochs, shape, lr) for s in range(1, int(sys.argv[2]) + 1)]
            print("%-10s i8 %-7s %s  mean %.2f sd %.2f" % (name, act, " ".join("%.2f" % v for v in r), np.mean(r), np.std(r)), flush=True)
