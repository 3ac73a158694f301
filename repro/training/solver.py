"""Caffe's solver (solver.cpp, sgd_solver.cpp): one step, top to bottom."""

import itertools
import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from scipy.special import expit

from converters import CaffeError, CaffeNet, read_solver
from converters.caffe_pb2 import LossParameter, SolverParameter
from converters.files import FilePath
from converters.layers.loss import normalization_mode
from repro import distributed
from repro.training import snapshots
from repro.training.updates import UPDATES

POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")


class Solver:
    """Trains `net`, a CaffeNet, as a solver prototxt says.

    `param` is a SolverParameter, or a solver prototxt as a path or text. `feed` is an iterator of {input blob: tensor}, one
    for each forward pass (iter_size of them an iteration); if it has a state_dict, snapshots keep it. Where torchrun has
    started several processes, the feed of each gives its own share of the passes, and gradients are summed over all:
    N processes with an iter_size of k do what one does with N k. amp: compute in bfloat16, but for the losses.

    Attributes: `iter` the number of iterations done, `smoothed_loss` the mean of the last `average_loss` losses,
    `loss_per_pixel` the last iteration's loss over the pixels it counts, `last_inputs` what the last pass was fed, `waited`
    the seconds spent waiting for the feed.
    """

    def __init__(self, param: SolverParameter | FilePath, net: CaffeNet, feed: Iterable[dict[str, torch.Tensor]],
                 amp: bool = False):
        self.param = param if isinstance(param, SolverParameter) else read_solver(param)
        _check(self.param)
        if net.phase != "train":
            raise CaffeError(f"net '{net.param.name}' is built for its test phase, and Caffe trains one of the train phase: "
                             "build it by CaffeNet(net, 'train')")
        self.net, self.feed, self._next, self.amp = net, feed, iter(feed), amp
        # Narrow nets convolve several times faster in this layout; no number depends on it.
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it, its annotations do not
        self.iter, self.current_step = 0, 0
        self.losses: deque[float] = deque(maxlen=max(1, self.param.average_loss))
        self.loss_per_pixel, self.waited = math.nan, 0.0
        if self.param.random_seed >= 0 or distributed.rank():
            # As Caffe on several GPUs: every process draws its own dropout.
            seed = self.param.random_seed if self.param.random_seed >= 0 else torch.initial_seed()
            torch.manual_seed(seed + distributed.rank())
        self.learnable = self._learnable()
        self.device = self.learnable[0].blob.device
        distributed.broadcast([item.blob.detach() for item in self.learnable])
        for item in self.learnable:
            item.blob.requires_grad_(item.lr_mult != 0)
        if amp:
            for layer in (layer for layer in net.layers.values() if layer.loss_weight):
                layer.register_forward_pre_hook(_in_full_precision)
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
    def smoothed_loss(self) -> float:
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    def step(self, iterations: int = 1) -> float:
        """Do some iterations; returns the weighted sum of the net's losses in the last forward pass.

        Raises CaffeError where the loss is no longer finite.
        """
        self.net.train()  # Caffe's training net is always in its train phase, whatever was called on it in between
        for _ in range(iterations):
            for item in self.learnable:
                item.blob.grad = None
            passes, total, pixels = max(1, self.param.iter_size), 0.0, 0.0
            for _ in range(passes):
                inputs = self._inputs()
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                    loss = self.net.loss(**inputs)
                loss.backward()
                last = loss.item()
                total += last
                pixels += counted_pixels(self.net, inputs)
            passes *= distributed.world_size()
            is_last = distributed.rank() == distributed.world_size() - 1
            total, pixels, last = distributed.sums(total, pixels, last * is_last)
            if not math.isfinite(total):
                raise CaffeError(f"iteration {self.iter}: the loss is {total}; lower base_lr, or look at the data")
            self.losses.append(total / passes)
            self.loss_per_pixel = total / pixels
            self._sum_gradients()
            if self.iter == 0 and total:
                self._require_gradients()
            with torch.no_grad():
                self._apply_update(passes)
            self.current_step = self._due_step()
            self.iter += 1
        return last

    def _inputs(self):
        began = time.monotonic()
        self.last_inputs = next(self._next)
        self.waited += time.monotonic() - began
        layouts = {4: torch.channels_last}
        return {name: tensor.to(self.device, memory_format=layouts.get(tensor.ndim, torch.preserve_format))
                for name, tensor in self.last_inputs.items()}

    def _sum_gradients(self):
        """Add up what the processes have found; a blob that no loss depends on has a gradient of zeros."""
        learned = [item.blob for item in self.learnable if item.lr_mult]
        for blob in learned:
            if blob.grad is None:
                blob.grad = torch.zeros_like(blob)
        distributed.all_reduce([blob.grad for blob in learned])

    def _require_gradients(self):
        """CaffeError where a score layer gets no gradient at all: it would never learn, and nor would what is below it."""
        alive = {}
        for item in self.learnable:
            if item.lr_mult:
                layer = item.name.rpartition("/")[0]
                alive[layer] = alive.get(layer, False) or bool(item.blob.grad.any())
        scores = {layer: lives for layer, lives in alive.items() if "score" in layer and "up" not in layer}
        dead = [layer for layer, lives in scores.items() if not lives] or ([] if any(alive.values()) else list(alive))
        if dead:
            flat = [name for name, layer in self.net.layers.items()
                    if layer.type == "Deconvolution" and not layer.blobs()[0].any()]
            why = (f"layers {', '.join(flat)} are all zero: interpolate in them (surgery.interp)" if flat else
                   "look at the layers between them and the loss, at propagate_down and at loss_weight")
            raise CaffeError(f"net '{self.net.param.name}' cannot learn: in the first iteration the gradient of layers "
                             f"{', '.join(dead)} is zero; {why}")

    def _apply_update(self, passes):
        """Clip, divide by iter_size, add the decay, update: in this order (SGDSolver, ApplyUpdate)."""
        rate = self.rate()
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

    def rate(self) -> float:
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
            return param.base_lr * expit(param.gamma * (done - param.stepsize)).item()
        return param.base_lr

    def _due_step(self):
        """How often the rate has dropped when this iteration is done; multistep drops once an iteration at most."""
        param, taken = self.param, self.current_step
        if param.lr_policy == "step":
            return self.iter // param.stepsize
        multistep = param.lr_policy == "multistep"
        return taken + (multistep and taken < len(param.stepvalue) and self.iter >= param.stepvalue[taken])

    def feed_state(self) -> Any:
        """The feed's state_dict, or None where it keeps none."""
        return self.feed.state_dict() if hasattr(self.feed, "state_dict") else None

    def snapshot(self, path: FilePath) -> None:
        """Write everything that a resumed run needs: see `repro.training.snapshots`."""
        snapshots.write(path, self)

    def restore(self, path: FilePath) -> None:
        """Go on from a snapshot, as if never stopped. Raises CaffeFileError for one of another net, or a damaged one."""
        snapshots.read(path, self)

    def go_on(self, iteration: int, current_step: int, losses: Iterable[float], feed_state: Any) -> None:
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
        raise CaffeError("lr_policy 'step' needs a positive stepsize")
    if param.lr_policy == "poly" and param.max_iter < 1:
        raise CaffeError("lr_policy 'poly' needs a positive max_iter")


@torch.no_grad()
def counted_pixels(net: CaffeNet, inputs: dict[str, torch.Tensor]) -> float:
    """How many pixels a pass of a net sums its losses over: 1 where they are averages already."""
    counted = 0.0
    for layer in net.param.layer:
        loss = layer.loss_param
        mode = normalization_mode(loss)
        if layer.type in ("SoftmaxWithLoss", "InfogainLoss") and mode in (LossParameter.NONE, LossParameter.BATCH_SIZE):
            # Labels may be an input, or come out of layers such as a Slice.
            labels = net.forward_blobs(inputs, [layer.bottom[1]])[layer.bottom[1]]
            pixels = int((labels != loss.ignore_label).sum()) if loss.HasField("ignore_label") else labels.numel()
            counted += pixels / (len(labels) if mode == LossParameter.BATCH_SIZE else 1)
    return max(1.0, counted)


def _in_full_precision(layer, bottoms):
    return tuple(bottom.float() for bottom in bottoms)
