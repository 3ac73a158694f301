"""Caffe's solver (solver.cpp, sgd_solver.cpp): one step, top to bottom."""

import itertools
import math
from collections import deque

import torch

from converters import CaffeError, read_solver
from converters.caffe_pb2 import SolverParameter
from repro import snapshots
from repro.updates import UPDATES

POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")


class Solver:
    """Trains `net`, a CaffeNet, as a solver prototxt says.

    `param` is a SolverParameter, or a solver prototxt as a path or text. `feed` is an iterator of {input blob: tensor}, one
    for each forward pass (iter_size of them an iteration); if it has a state_dict, snapshots keep it.

    Attributes: `iter` the number of iterations done, `smoothed_loss` the mean of the last `average_loss` losses,
    `last_inputs` what the last pass was fed.
    """

    def __init__(self, param, net, feed):
        self.param = param if isinstance(param, SolverParameter) else read_solver(param)
        _check(self.param)
        self.net, self.feed, self._next = net, feed, iter(feed)
        # Narrow nets convolve several times faster in this layout; no number depends on it.
        net.to(memory_format=torch.channels_last)
        self.iter, self.current_step = 0, 0
        self.losses = deque(maxlen=max(1, self.param.average_loss))
        if self.param.random_seed >= 0:
            torch.manual_seed(self.param.random_seed)
        self.learnable = self._learnable()
        self._update, buffers = UPDATES[self.param.type]
        self.history = [torch.zeros_like(item.blob) for _ in range(buffers) for item in self.learnable]

    def _learnable(self):
        """The net's learnable blobs; where their shapes are not known yet, one batch is looked at and put back."""
        if any(blob is None for blobs in self.net.params.values() for blob in blobs):
            state = self.feed_state()
            first = next(self._next)
            self.net.reshape(**{name: tensor.shape for name, tensor in first.items()})
            if state is None:
                self._next = itertools.chain([first], self._next)
            else:
                self.feed.load_state_dict(state)
        return self.net.learnable()

    @property
    def smoothed_loss(self):
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    def step(self, iterations=1):
        """Do some iterations; returns the weighted sum of the net's losses in the last forward pass."""
        for _ in range(iterations):
            for item in self.learnable:
                item.blob.grad = None
            passes = max(1, self.param.iter_size)
            total = 0.0
            for _ in range(passes):
                loss = self.net.loss(**self._inputs())
                loss.backward()
                last = loss.item()
                total += last
            if not math.isfinite(total):
                raise CaffeError(f"iteration {self.iter}: the loss is {last}; lower base_lr, or look at the data")
            self.losses.append(total / passes)
            with torch.no_grad():
                self._apply_update(passes)
            self.current_step = self._due_step()
            self.iter += 1
        return last

    def _inputs(self):
        device = self.learnable[0].blob.device
        self.last_inputs = next(self._next)
        return {name: tensor.to(device, memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.to(device)
                for name, tensor in self.last_inputs.items()}

    def _apply_update(self, passes):
        """Clip, divide by iter_size, add the decay, update: in this order (SGDSolver, ApplyUpdate)."""
        rate = self.rate()
        for item in self.learnable:
            if item.lr_mult and item.blob.grad is None:
                item.blob.grad = torch.zeros_like(item.blob)
        scale = self._clip_scale() / passes
        for index, (_, blob, lr_mult, decay_mult) in enumerate(self.learnable):
            if not lr_mult:
                continue
            gradient = blob.grad if scale == 1 else blob.grad.mul_(scale)
            decay = self.param.weight_decay * decay_mult
            if decay:
                gradient.add_(blob if self.param.regularization_type == "L2" else blob.sign(), alpha=decay)
            history = self.history[index::len(self.learnable)]
            blob.sub_(self._update(gradient, history, rate * lr_mult, self.param, self.iter))

    def _clip_scale(self):
        """What shrinks the gradients to an L2 norm of clip_gradients, taken before they are divided by iter_size."""
        if self.param.clip_gradients < 0:
            return 1.0
        gradients = [item.blob.grad for item in self.learnable if item.lr_mult]
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
        return min(1.0, self.param.clip_gradients / norm) if norm else 1.0

    def rate(self):
        """The learning rate of this iteration (SGDSolver, GetLearningRate)."""
        param, done = self.param, self.iter
        if param.lr_policy in ("step", "multistep"):
            return param.base_lr * param.gamma ** self._due_step()
        if param.lr_policy == "exp":
            return param.base_lr * param.gamma ** done
        if param.lr_policy == "inv":
            return param.base_lr * (1 + param.gamma * done) ** -param.power
        if param.lr_policy == "poly":
            if done > param.max_iter:
                raise CaffeError(f"iteration {done}: lr_policy 'poly' ends at max_iter {param.max_iter}; raise max_iter")
            return param.base_lr * (1 - done / param.max_iter) ** param.power
        if param.lr_policy == "sigmoid":
            return param.base_lr / (1 + math.exp(-param.gamma * (done - param.stepsize)))
        return param.base_lr

    def _due_step(self):
        """How often the rate has dropped when this iteration is done; multistep drops once an iteration at most."""
        param, taken = self.param, self.current_step
        if param.lr_policy == "step":
            return self.iter // param.stepsize
        multistep = param.lr_policy == "multistep"
        return taken + (multistep and taken < len(param.stepvalue) and self.iter >= param.stepvalue[taken])

    def feed_state(self):
        """The feed's state_dict, or None where it keeps none."""
        return self.feed.state_dict() if hasattr(self.feed, "state_dict") else None

    def snapshot(self, path):
        """Write everything that a resumed run needs: see `repro.snapshots`."""
        snapshots.write(path, self)

    def restore(self, path):
        """Go on from a snapshot, as if never stopped."""
        snapshots.read(path, self)

    def go_on(self, iteration, current_step, losses, feed_state):
        """Take over what a snapshot says beside its tensors; the feed comes first, which may refuse."""
        if feed_state is not None and hasattr(self.feed, "load_state_dict"):
            self.feed.load_state_dict(feed_state)
            self._next = iter(self.feed)
        self.iter, self.current_step = iteration, current_step
        self.losses.clear()
        self.losses.extend(losses)


def _check(param):
    if param.type not in UPDATES:
        raise CaffeError(f"unknown solver type '{param.type}': known are {', '.join(UPDATES)}")
    if param.type in ("AdaGrad", "RMSProp") and param.momentum:
        raise CaffeError(f"{param.type} takes no momentum; leave it out")
    if param.lr_policy not in POLICIES:
        raise CaffeError(f"unknown lr_policy '{param.lr_policy}': known are {', '.join(POLICIES)}")
    if param.regularization_type not in ("L1", "L2"):
        raise CaffeError(f"unknown regularization_type '{param.regularization_type}': known are L1, L2")
    if param.lr_policy == "step" and param.stepsize < 1:
        raise CaffeError("lr_policy 'step' wants a positive stepsize")
    if param.lr_policy == "poly" and param.max_iter < 1:
        raise CaffeError("lr_policy 'poly' wants a positive max_iter")

