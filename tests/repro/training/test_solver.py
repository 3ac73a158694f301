"""The solver against real Caffe's runs, and against a separately written reading of its formulas in NumPy."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import GOLDEN

from converters import CaffeError, CaffeNet, read_solver
from repro import Solver

CASES = sorted((GOLDEN / "solver").glob("*.npz"))


# ---- real Caffe's runs ----


def blobs_of(golden, prefix):
    """{(layer, index): array} of the keys <prefix>_<layer>_<index>."""
    keys = [key for key in golden.files if key.startswith(f"{prefix}_") and key != "grad_loss"]
    return {(name, int(i)): golden[key] for key in keys for name, i in [key.removeprefix(f"{prefix}_").rsplit("_", 1)]}


def start(golden):
    net = CaffeNet(str(golden["net"]), "train")
    initial = {}
    for (layer, _), array in sorted(blobs_of(golden, "init").items()):
        initial.setdefault(layer, []).append(array)
    net.copy_from(initial)
    pairs = [{name: torch.from_numpy(golden[f"{name}_{k}"]) for name in ("data", "label")} for k in range(golden["n"])]
    return net, pairs


def assert_within(share, ours, caffes, scale, what):
    error = np.abs(ours.astype(np.float64) - caffes).max()
    assert error <= share * scale, f"{what}: off by {error:.3e}, {share:g} of {scale:.3e} allowed"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_ten_iterations_as_caffe(path):
    golden = np.load(path)
    net, pairs = start(golden)
    initial, final = blobs_of(golden, "init"), blobs_of(golden, "final")

    loss = net.loss(**pairs[0])
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["grad_loss"]), rel=1e-5)
    for (layer, i), caffes in blobs_of(golden, "grad").items():
        grad = net.params[layer][i].grad
        ours = np.zeros_like(caffes) if grad is None else grad.numpy()
        assert_within(0.01, ours, caffes, np.abs(caffes).max(), f"gradient of {layer}/{i}")

    solver = Solver(str(golden["solver"]), net, itertools.cycle(pairs))
    losses = [solver.step() for _ in range(golden["iters"])]
    np.testing.assert_allclose(losses, golden["loss"], rtol=1e-5)
    fixed = {tuple(item.name.rsplit("/", 1)) for item in solver.learnable if not item.lr_mult}
    for (layer, i), caffes in final.items():
        ours = net.params[layer][i].detach().numpy()
        moved = np.abs(caffes - initial[layer, i]).max()
        assert (moved == 0) == ((layer, str(i)) in fixed)
        assert_within(0.01, ours, caffes, moved, f"{layer}/{i}")
    assert len(solver.history) == sum(key.startswith("hist_") for key in golden.files)
    for k, ours in enumerate(solver.history):
        caffes = golden[f"hist_{k}"]
        assert_within(0.01, ours.numpy(), caffes, np.abs(caffes).max(), f"history {k}")


def test_there_are_golden_runs():
    assert len(CASES) == 8


TINY_SOLVER = 'base_lr: 0.01 momentum: 0.9 lr_policy: "fixed"'


@pytest.fixture
def tiny(golden):
    """Build a solver on the tiny net that Caffe's snapshot is of, at its initial weights."""
    folder = golden / "formats"
    arrays = np.load(folder / "tiny.npz")

    def build():
        net = CaffeNet(folder / "tiny_train.prototxt", "train")
        net.copy_from(folder / "tiny_v2.caffemodel")
        batch = {"data": torch.from_numpy(arrays["data"]), "label": torch.tensor([2.0])}
        return Solver(TINY_SOLVER, net, itertools.repeat(batch))

    return build


def assert_at_iteration_three(solver, golden, exactly):
    expected = np.load(golden / "formats" / "tiny_iter_3.npz")
    share = 0 if exactly else 1e-5
    assert solver.iter == expected["iter"] == 3
    for item in solver.learnable:
        caffes = expected[item.name]
        assert_within(share, item.blob.detach().numpy(), caffes, np.abs(caffes).max(), item.name)
    for k, ours in enumerate(solver.history):
        caffes = expected[f"hist_{k}"]
        assert_within(share, ours.numpy(), caffes, np.abs(caffes).max(), f"history {k}")


def test_three_iterations_are_caffes_snapshot(tiny, golden):
    solver = tiny()
    solver.step(3)
    assert_at_iteration_three(solver, golden, exactly=False)


@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
def test_caffes_snapshot_is_resumed(tiny, golden, suffix):
    resumed, unbroken = tiny(), tiny()
    resumed.restore(golden / "formats" / f"tiny_iter_3{suffix}")
    assert_at_iteration_three(resumed, golden, exactly=True)
    unbroken.step(3)
    assert [resumed.step() for _ in range(5)] == pytest.approx([unbroken.step() for _ in range(5)], rel=1e-5)


# ---- the formulas, read separately ----

CLASSES, FEATURES = 4, 5
LINEAR = f"""
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
         param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0.5 }}
         inner_product_param {{ num_output: {CLASSES} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""
MULTIPLIERS = [(1, 1), (2, 0.5)]


def linear(param, batches):
    """A solver on softmax regression, whose gradients are easily written down."""
    random = np.random.default_rng(0)
    net = CaffeNet(LINEAR, "train")
    net.copy_from({"ip": [random.normal(size=(CLASSES, FEATURES)).astype(np.float32),
                          random.normal(size=CLASSES).astype(np.float32)]})
    return Solver(param, net, ({name: torch.from_numpy(array) for name, array in batch.items()} for batch in batches))


def draw_batches(count, size=3, seed=1):
    random = np.random.default_rng(seed)
    return [{"data": random.normal(size=(size, FEATURES)).astype(np.float32),
             "label": random.integers(CLASSES, size=size).astype(np.float32)} for _ in range(count)]


def values(solver):
    return [item.blob.detach().numpy().astype(np.float64) for item in solver.learnable]


def gradients(blobs, batch):
    weight, bias = blobs
    scores = batch["data"].astype(np.float64) @ weight.T + bias
    probability = np.exp(scores - scores.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    error = (probability - np.eye(CLASSES)[batch["label"].astype(int)]) / len(scores)
    return [error.T @ batch["data"], error.sum(0)]


def caffe_update(kind, g, state, rate, p, t):
    """What is subtracted from a blob; `state` holds its one or two buffers. t counts iterations from 1."""
    if kind == "SGD":
        state[0] = p.momentum * state[0] + rate * g
        return state[0]
    if kind == "Nesterov":
        old, state[0] = state[0], p.momentum * state[0] + rate * g
        return (1 + p.momentum) * state[0] - p.momentum * old
    if kind == "AdaGrad":
        state[0] = state[0] + g**2
        return rate * g / (np.sqrt(state[0]) + p.delta)
    if kind == "RMSProp":
        state[0] = p.rms_decay * state[0] + (1 - p.rms_decay) * g**2
        return rate * g / (np.sqrt(state[0]) + p.delta)
    if kind == "AdaDelta":
        state[0] = p.momentum * state[0] + (1 - p.momentum) * g**2
        step = g * np.sqrt((state[1] + p.delta) / (state[0] + p.delta))
        state[1] = p.momentum * state[1] + (1 - p.momentum) * step**2
        return rate * step
    assert kind == "Adam"
    state[0] = p.momentum * state[0] + (1 - p.momentum) * g
    state[1] = p.momentum2 * state[1] + (1 - p.momentum2) * g**2
    return rate * math.sqrt(1 - p.momentum2**t) / (1 - p.momentum**t) * state[0] / (np.sqrt(state[1]) + p.delta)


def caffe_run(param, blobs, batches, iterations):
    """A run with a fixed rate: the blobs after it, and their buffers in solverstate order."""
    p = read_solver(param)
    blobs, batches = [blob.copy() for blob in blobs], iter(batches)
    states = [[np.zeros_like(blob), np.zeros_like(blob)] for blob in blobs]
    for t in range(1, iterations + 1):
        sums = [gradients(blobs, next(batches)) for _ in range(p.iter_size)]
        total = [sum(parts) for parts in zip(*sums, strict=True)]
        norm = math.sqrt(sum((g**2).sum() for g in total))
        if 0 <= p.clip_gradients < norm:
            total = [g * p.clip_gradients / norm for g in total]
        for k, (lr_mult, decay_mult) in enumerate(MULTIPLIERS):
            decayed = blobs[k] if p.regularization_type == "L2" else np.sign(blobs[k])
            g = total[k] / p.iter_size + p.weight_decay * decay_mult * decayed
            blobs[k] = blobs[k] - caffe_update(p.type, g, states[k], p.base_lr * lr_mult, p, t)
    buffers = 2 if p.type in ("AdaDelta", "Adam") else 1
    return blobs, [state[number] for number in range(buffers) for state in states]


@pytest.mark.parametrize("param", [
    'type: "SGD" base_lr: 0.1 momentum: 0.9',
    'type: "SGD" base_lr: 0.1 momentum: 0.9 weight_decay: 0.1',
    'type: "SGD" base_lr: 0.1 momentum: 0.9 weight_decay: 0.1 regularization_type: "L1"',
    'type: "SGD" base_lr: 0.1 momentum: 0.5 weight_decay: 0.1 iter_size: 3 clip_gradients: 0.4',
    'type: "SGD" base_lr: 0.1 clip_gradients: 1000',
    'type: "Nesterov" base_lr: 0.1 momentum: 0.9 weight_decay: 0.01 iter_size: 2',
    'type: "AdaGrad" base_lr: 0.1 weight_decay: 0.01 delta: 1e-4',
    'type: "RMSProp" base_lr: 0.1 rms_decay: 0.8 weight_decay: 0.01 delta: 1e-3',
    'type: "AdaDelta" base_lr: 1 momentum: 0.9 weight_decay: 0.01 delta: 1e-3',
    'type: "Adam" base_lr: 0.05 momentum: 0.9 momentum2: 0.99 weight_decay: 0.01 delta: 1e-6 iter_size: 2',
])
def test_each_solver_type_as_caffes_formulas(param):
    param += ' lr_policy: "fixed"'
    batches = draw_batches(36)
    solver = linear(param, batches)
    blobs, history = caffe_run(param, values(solver), batches, 12)
    solver.step(12)
    for ours, expected in zip(values(solver), blobs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    for ours, expected in zip(solver.history, history, strict=True):
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_k_passes_of_n_are_one_of_k_times_n():
    batches = draw_batches(12, size=2)
    joined = [{name: np.concatenate([batch[name] for batch in batches[k:k + 3]]) for name in ("data", "label")}
              for k in range(0, 12, 3)]
    options = 'base_lr: 0.1 momentum: 0.9 weight_decay: 0.01 lr_policy: "fixed"'
    passes, whole = linear(f"{options} iter_size: 3", batches), linear(options, joined)
    passes.step(4)
    whole.step(4)
    for ours, other in zip(values(passes), values(whole), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-7)


RATES = {
    'lr_policy: "fixed"': lambda i: 0.1,
    'lr_policy: "step" gamma: 0.5 stepsize: 4': lambda i: 0.1 * 0.5 ** (i // 4),
    'lr_policy: "exp" gamma: 0.9': lambda i: 0.1 * 0.9**i,
    'lr_policy: "inv" gamma: 0.3 power: 0.75': lambda i: 0.1 * (1 + 0.3 * i) ** -0.75,
    'lr_policy: "multistep" gamma: 0.1 stepvalue: 2 stepvalue: 7': lambda i: 0.1 * 0.1 ** ((i >= 2) + (i >= 7)),
    # Caffe takes one step an iteration, also where two are due.
    'lr_policy: "multistep" gamma: 0.1 stepvalue: 3 stepvalue: 3': lambda i: 0.1 * 0.1 ** ((i >= 3) + (i >= 4)),
    'lr_policy: "poly" power: 1.5 max_iter: 12': lambda i: 0.1 * (1 - i / 12) ** 1.5,
    'lr_policy: "sigmoid" gamma: -0.7 stepsize: 5': lambda i: 0.1 / (1 + math.exp(0.7 * (i - 5))),
}


@pytest.mark.parametrize("policy", RATES, ids=lambda policy: policy.split('"')[1])
def test_rates(policy):
    solver = linear(f"base_lr: 0.1 momentum: 0 {policy}", draw_batches(11))
    for iteration in range(11):
        before = values(solver)
        rate = solver.rate()
        assert rate == pytest.approx(RATES[policy](iteration), rel=1e-6)
        assert solver.rate() == rate  # to ask is not to step
        solver.step()
        # Without momentum the history is rate times gradient: the rate that was asked for is the one that is used.
        used = np.abs(values(solver)[0] - before[0]).max()
        gradient = np.abs(gradients(before, draw_batches(11)[iteration])[0]).max()
        assert used == pytest.approx(rate * gradient, rel=1e-2, abs=1e-7)


def test_poly_has_no_rate_past_its_end():
    solver = linear('base_lr: 0.1 lr_policy: "poly" power: 0.5 max_iter: 2', draw_batches(4))
    solver.step(3)  # the third at a rate of zero
    before = values(solver)
    with pytest.raises(CaffeError, match="max_iter 2"):
        solver.step()
    for ours, kept in zip(values(solver), before, strict=True):
        np.testing.assert_array_equal(ours, kept)


def test_the_shown_loss_is_the_mean_of_the_last_and_the_step_returns_the_last_pass():
    batches = draw_batches(6)
    solver = linear('base_lr: 0 lr_policy: "fixed" average_loss: 2 iter_size: 2', batches)
    net = solver.net
    with torch.no_grad():
        losses = [net.loss(**{name: torch.from_numpy(array) for name, array in batch.items()}).item() for batch in batches]
    assert [solver.step() for _ in range(3)] == pytest.approx(losses[1::2])
    assert solver.smoothed_loss == pytest.approx(np.mean(losses[2:]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(value):
    batches = draw_batches(2)
    batches[1]["data"][0, 0] = value
    solver = linear('base_lr: 0.1 lr_policy: "fixed"', batches)
    solver.step()
    before = values(solver)
    with pytest.raises(CaffeError, match="iteration 1: the loss is nan") as raised:
        solver.step()
    assert "\n" not in str(raised.value)
    for ours, kept in zip(values(solver), before, strict=True):
        np.testing.assert_array_equal(ours, kept)


@pytest.mark.parametrize("param, says", [
    ('type: "Lion" base_lr: 1 lr_policy: "fixed"', "unknown solver type 'Lion'"),
    ('base_lr: 1 lr_policy: "cosine"', "unknown lr_policy 'cosine'"),
    ('base_lr: 1 lr_policy: "fixed" regularization_type: "L3"', "unknown regularization_type 'L3'"),
    ('base_lr: 1 lr_policy: "step" gamma: 0.1', "positive stepsize"),
    ('base_lr: 1 lr_policy: "poly" power: 1', "positive max_iter"),
    ('type: "AdaGrad" base_lr: 1 momentum: 0.9 lr_policy: "fixed"', "AdaGrad takes no momentum"),
    ('type: "RMSProp" base_lr: 1 momentum: 0.9 lr_policy: "fixed"', "RMSProp takes no momentum"),
])
def test_what_caffe_refuses_is_refused(param, says):
    with pytest.raises(CaffeError, match=says):
        linear(param, [])


def test_looking_at_the_first_batch_for_shapes_does_not_lose_it():
    batches = draw_batches(3)
    torch.manual_seed(0)
    net = CaffeNet(LINEAR, "train")  # no shapes are declared and no weights are given
    given = [{name: torch.from_numpy(array) for name, array in batch.items()} for batch in batches]
    solver = Solver('base_lr: 0.1 lr_policy: "fixed"', net, iter(given))
    for batch in given:
        solver.step()
        assert solver.last_inputs is batch


def test_the_random_seed_is_the_solvers():
    drawn = []
    for state in (1, 2):
        torch.manual_seed(state)
        linear('base_lr: 0.1 lr_policy: "fixed" random_seed: 7', [])
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_losses_count_by_their_weight():
    found = []
    for weight in (1, 3):
        net = CaffeNet(LINEAR.replace('top: "loss"', f'top: "loss" loss_weight: {weight}'), "train")
        batch = {name: torch.from_numpy(array) for name, array in draw_batches(1)[0].items()}
        solver = Solver('base_lr: 0.1 lr_policy: "fixed"', net, itertools.repeat(batch))
        found.append((solver.step(), solver.history[0]))
    assert found[1][0] == pytest.approx(3 * found[0][0])
    torch.testing.assert_close(found[1][1], 3 * found[0][1])


def test_a_net_in_its_test_phase_is_refused():
    with pytest.raises(CaffeError, match="test phase.*CaffeNet"):
        Solver('base_lr: 0.1 lr_policy: "fixed"', CaffeNet(LINEAR, "test"), iter([]))


def test_training_goes_on_in_the_train_phase_after_eval():
    text = LINEAR.replace('bottom: "ip" bottom: "label"', 'bottom: "drop" bottom: "label"') + """
layer { name: "drop" type: "Dropout" bottom: "ip" top: "drop" }"""
    layers = text.strip().split("\nlayer {")
    batch = {name: torch.from_numpy(array) for name, array in draw_batches(1)[0].items()}
    net = CaffeNet("\nlayer {".join([layers[0], layers[2], layers[1]]), "train")
    solver = Solver('base_lr: 0 lr_policy: "fixed"', net, itertools.repeat(batch))
    net.eval()
    with torch.no_grad():
        net.params["ip"][0].normal_()
    losses = {solver.step() for _ in range(8)}
    assert len(losses) > 1  # dropout draws


@pytest.mark.parametrize("power", [-1e6, 1e6])
def test_the_sigmoid_policy_ends_where_caffes_floats_do(power):
    solver = linear(f'base_lr: 0.5 lr_policy: "sigmoid" gamma: {power} stepsize: 5', [])
    assert solver.rate() == (0 if power > 0 else 0.5)
    solver.iter = 5
    assert solver.rate() == 0.25


SLICED = """
layer { name: "slice" type: "Slice" bottom: "data" top: "scores" top: "label" slice_param { slice_point: 2 } }
layer { name: "score" type: "Convolution" bottom: "scores" top: "score"
        convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
        loss_param { normalization: NONE%s } }
"""


@pytest.mark.parametrize("ignore, pixels", [("", 16), (" ignore_label: 2", 10), (" ignore_label: 255", 16)])
def test_the_loss_per_pixel_counts_what_the_loss_counts_wherever_labels_come_from(ignore, pixels):
    data = torch.zeros(1, 3, 4, 4)
    data[:, 2].view(-1)[:6] = 2
    net = CaffeNet(SLICED % ignore, "train")
    solver = Solver('base_lr: 0 lr_policy: "fixed"', net, itertools.repeat({"data": data}))
    loss = solver.step()
    assert loss == pytest.approx(pixels * math.log(3), rel=1e-5)
    assert solver.loss_per_pixel == pytest.approx(math.log(3), rel=1e-5)
