"""How each solver type turns a gradient into a step (the ComputeUpdateValue of sgd_solver.cpp and its siblings).

Each function takes the gradient of one blob (with decay, free to be overwritten), the blob's history buffers, the rate with
lr_mult in it, the SolverParameter and the iteration, changes the history in place and returns what is subtracted from the
blob. Histories are in the order of Caffe's solverstate: all first buffers, then all second ones.
"""

import math


def sgd(gradient, history, rate, param, iteration):
    """V = momentum V + rate g; the learning rate is inside the momentum."""
    (velocity,) = history
    return velocity.mul_(param.momentum).add_(gradient, alpha=rate)


def nesterov(gradient, history, rate, param, iteration):
    (velocity,) = history
    before = velocity.clone()
    velocity.mul_(param.momentum).add_(gradient, alpha=rate)
    return before.mul_(-param.momentum).add_(velocity, alpha=1 + param.momentum)


def adagrad(gradient, history, rate, param, iteration):
    (squares,) = history
    squares.addcmul_(gradient, gradient)
    return gradient.div_(squares.sqrt().add_(param.delta)).mul_(rate)


def rmsprop(gradient, history, rate, param, iteration):
    (squares,) = history
    squares.mul_(param.rms_decay).addcmul_(gradient, gradient, value=1 - param.rms_decay)
    return gradient.div_(squares.sqrt().add_(param.delta)).mul_(rate)


def adadelta(gradient, history, rate, param, iteration):
    """`momentum` is the decay of both averages."""
    squares, steps = history
    squares.mul_(param.momentum).addcmul_(gradient, gradient, value=1 - param.momentum)
    step = gradient.mul_((steps + param.delta).div_(squares + param.delta).sqrt_())
    steps.mul_(param.momentum).addcmul_(step, step, value=1 - param.momentum)
    return step * rate


def adam(gradient, history, rate, param, iteration):
    mean, squares = history
    mean.mul_(param.momentum).add_(gradient, alpha=1 - param.momentum)
    squares.mul_(param.momentum2).addcmul_(gradient, gradient, value=1 - param.momentum2)
    correction = math.sqrt(1 - param.momentum2 ** (iteration + 1)) / (1 - param.momentum ** (iteration + 1))
    return mean.div(squares.sqrt().add_(param.delta)).mul_(rate * correction)


# Caffe's type name: the update, and how many history buffers it keeps for each blob.
UPDATES = {"SGD": (sgd, 1), "Nesterov": (nesterov, 1), "AdaGrad": (adagrad, 1), "RMSProp": (rmsprop, 1),
           "AdaDelta": (adadelta, 2), "Adam": (adam, 2)}
