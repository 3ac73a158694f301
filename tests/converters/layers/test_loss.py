"""Losses and Accuracy, against NumPy readings of Caffe's definitions, place by place."""

import numpy as np
import pytest
import torch
from helpers.small_nets import check_gradients, gradients, one_layer, run

import converters
from converters.formats.blob import write_blob

pytestmark = pytest.mark.usefixtures("one_thread")
rng = np.random.default_rng(22)
SCORES = rng.standard_normal((3, 5, 2, 2))
LABELS = rng.integers(0, 5, (3, 1, 2, 2))
IGNORING = np.where(rng.random(LABELS.shape) < 0.4, 255, LABELS)
MODES = {"FULL": lambda valid: 12, "VALID": lambda valid: max(valid, 1), "BATCH_SIZE": lambda valid: 3,
         "NONE": lambda valid: 1}


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def check_loss(layer, bottoms, expected, differentiable=(0,), tops=1):
    net = one_layer(layer, *[np.shape(bottom) for bottom in bottoms], tops=tops)
    ours = run(net, *bottoms)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-7)
    assert ours[0].shape == ()
    check_gradients(net, bottoms, differentiable)
    return ours


VOID = np.full_like(LABELS, 255)
LABELLED = pytest.mark.parametrize("labels", [LABELS, IGNORING, VOID], ids=["all", "ignoring", "void"])


@pytest.mark.parametrize("mode", MODES)
@LABELLED
def test_softmax_loss(mode, labels):
    probabilities = softmax(SCORES, 1)
    losses = [-np.log(probabilities[n, labels[n, 0, i, j], i, j]) for n, i, j in np.ndindex(3, 2, 2)
              if labels[n, 0, i, j] != 255]
    layer = f"type: 'SoftmaxWithLoss' loss_param {{ ignore_label: 255 normalization: {mode} }}"
    ours = check_loss(layer, [SCORES, labels], sum(losses) / MODES[mode](len(losses)), tops=2)
    np.testing.assert_allclose(ours[1], probabilities)


def test_a_loss_of_nothing_is_zero_and_so_is_its_gradient():
    """GetNormalizer is never below one: an image that is void all over costs nothing, and is no NaN."""
    for layer, bottoms in [("SoftmaxWithLoss", [SCORES, VOID]), ("InfogainLoss", [SCORES, VOID, np.eye(5)]),
                           ("SigmoidCrossEntropyLoss", [SCORES, np.full(SCORES.shape, 255)])]:
        net = one_layer(f"type: '{layer}' loss_param {{ ignore_label: 255 normalization: VALID }}",
                        *[np.shape(bottom) for bottom in bottoms])
        assert run(net, *bottoms)[0] == 0
        assert not gradients(net, 1.0, *bottoms)[0].any()


@pytest.mark.parametrize(("given", "divisor"), [
    ("", {"SoftmaxWithLoss": "VALID", "SigmoidCrossEntropyLoss": "BATCH_SIZE"}),
    ("normalize: true", {"SoftmaxWithLoss": "VALID", "SigmoidCrossEntropyLoss": "VALID"}),
    ("normalize: false", {"SoftmaxWithLoss": "BATCH_SIZE", "SigmoidCrossEntropyLoss": "BATCH_SIZE"}),
    ("normalize: false normalization: FULL", {"SoftmaxWithLoss": "FULL", "SigmoidCrossEntropyLoss": "FULL"})])
def test_the_older_switch_counts_where_normalization_is_not_given(given, divisor):
    for layer, mode in divisor.items():
        targets = IGNORING if layer == "SoftmaxWithLoss" else np.where(rng.random(SCORES.shape) < 0.4, 255, 1)
        nets = [one_layer(f"type: '{layer}' loss_param {{ ignore_label: 255 {text} }}", SCORES.shape, targets.shape)
                for text in (given, f"normalization: {mode}")]
        np.testing.assert_allclose(*[run(net, SCORES, targets)[0] for net in nets])
        others = [run(one_layer(f"type: '{layer}' loss_param {{ ignore_label: 255 normalization: {other} }}", SCORES.shape,
                                targets.shape), SCORES, targets)[0] for other in MODES if other != mode]
        assert not np.isclose(others, run(nets[0], SCORES, targets)[0]).any()


@pytest.mark.parametrize("mode", MODES)
@LABELLED
def test_infogain_loss(mode, labels):
    gains = rng.uniform(0, 1, (5, 5))
    probabilities = softmax(SCORES, 1)
    total, valid = 0, 0
    for n, i, j in np.ndindex(3, 2, 2):
        if labels[n, 0, i, j] != 255:
            total -= (gains[labels[n, 0, i, j]] * np.log(probabilities[n, :, i, j])).sum()
            valid += 1
    layer = f"type: 'InfogainLoss' loss_param {{ ignore_label: 255 normalization: {mode} }}"
    ours = check_loss(layer, [SCORES, labels, gains], total / MODES[mode](valid), tops=2)
    np.testing.assert_allclose(ours[1], probabilities)


def test_infogain_matrix_from_a_file(tmp_path):
    gains = rng.uniform(0, 1, (1, 1, 5, 5)).astype(np.float32)
    write_blob(tmp_path / "gains.binaryproto", gains)
    settings = f"infogain_loss_param {{ source: '{tmp_path}/gains.binaryproto' }}"
    given = run(one_layer("type: 'InfogainLoss'", SCORES.shape, LABELS.shape, (5, 5)), SCORES, LABELS, gains[0, 0])
    read = run(one_layer(f"type: 'InfogainLoss' {settings}", SCORES.shape, LABELS.shape), SCORES, LABELS)
    np.testing.assert_allclose(read, given)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ignore", [False, True])
def test_sigmoid_cross_entropy_loss(mode, ignore):
    scores, targets = 4 * rng.standard_normal((3, 4)), rng.integers(0, 2, (3, 4)).astype(float)
    targets[1, 2:] = -1 if ignore else 0.25
    counted = targets != -1
    p = 1 / (1 + np.exp(-scores))
    losses = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))[counted]
    layer = f"type: 'SigmoidCrossEntropyLoss' loss_param {{ {'ignore_label: -1' if ignore else ''} normalization: {mode} }}"
    check_loss(layer, [scores, targets], losses.sum() / MODES[mode](counted.sum()))
    if mode == "BATCH_SIZE":
        layer = layer.replace("normalization: BATCH_SIZE", "")
        check_loss(layer, [scores, targets], losses.sum() / 3)


@pytest.mark.parametrize(("norm", "power"), [("L1", 1), ("L2", 2)])
def test_hinge_loss(norm, power):
    scores, labels = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    sign = np.ones((4, 5))
    sign[np.arange(4), labels] = -1
    margins = np.maximum(0, 1 + sign * scores)
    check_loss(f"type: 'HingeLoss' hinge_loss_param {{ norm: {norm} }}", [scores, labels], (margins**power).sum() / 4)


def test_multinomial_logistic_loss():
    probabilities, labels = softmax(rng.standard_normal((4, 5)), 1), rng.integers(0, 5, (4, 1, 1, 1))
    check_loss("type: 'MultinomialLogisticLoss'", [probabilities, labels],
               -np.log(probabilities[np.arange(4), labels.ravel()]).mean())
    impossible, layer = np.zeros((2, 3)), "type: 'MultinomialLogisticLoss'"
    net = one_layer(layer, (2, 3), (2,))
    np.testing.assert_allclose(run(net, impossible, [0, 1])[0], -np.log(1e-20))
    np.testing.assert_allclose(gradients(net, 1.0, impossible, [0, 1])[0], [[-5e19, 0, 0], [0, -5e19, 0]])


def test_softmax_loss_has_a_floor_that_the_gradient_ignores():
    net = one_layer("type: 'SoftmaxWithLoss'", (1, 2), (1,))
    assert np.isclose(run(net, [[0.0, 200.0]], [0])[0], -np.log(np.finfo(np.float32).tiny))
    np.testing.assert_allclose(gradients(net, 1.0, [[0.0, 200.0]], [0])[0], [[-1, 1]])


@pytest.mark.parametrize("legacy", [False, True])
def test_contrastive_loss(legacy):
    left, right, similar = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)), np.array([1, 0, 0, 1, 0, 0])
    right[4] = left[4]  # no distance at all
    margin, difference = 2.5, left - right
    squared = (difference**2).sum(1)
    distance = np.sqrt(squared)
    short = margin - (squared if legacy else distance)
    losses = np.where(similar, squared, np.maximum(short, 0) ** (1 if legacy else 2))
    slope = np.where(similar, 1, -np.where(short > 0, 1 if legacy else short / (distance + 1e-4), 0))
    settings = f"contrastive_loss_param {{ margin: 2.5 legacy_version: {str(legacy).lower()} }}"
    net = one_layer(f"type: 'ContrastiveLoss' {settings}", (6, 3), (6, 3), (6,))
    np.testing.assert_allclose(run(net, left, right, similar)[0], losses.sum() / 12)
    ours = gradients(net, 1.0, left, right, similar)
    np.testing.assert_allclose(ours[0], slope[:, None] * difference / 6)
    np.testing.assert_allclose(ours[1], -ours[0])


@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("labels", [LABELS, IGNORING, np.full_like(LABELS, 255)], ids=["all", "ignoring", "none"])
def test_accuracy(top_k, labels):
    scores = rng.integers(0, 4, SCORES.shape).astype(float)  # with ties, which count as better
    right, counted = np.zeros(5), np.zeros(5)
    for n, i, j in np.ndindex(3, 2, 2):
        label = labels[n, 0, i, j]
        if label != 255:
            counted[label] += 1
            right[label] += (scores[n, :, i, j] >= scores[n, label, i, j]).sum() - 1 < top_k
    net = one_layer(f"type: 'Accuracy' accuracy_param {{ top_k: {top_k} ignore_label: 255 }}", scores.shape, labels.shape,
                    tops=2)
    accuracy, of_class = run(net, scores, labels)
    assert np.isclose(accuracy, right.sum() / max(counted.sum(), 1))
    np.testing.assert_allclose(of_class, [r / c if c else 0 for r, c in zip(right, counted, strict=True)])


@pytest.mark.parametrize("layer", ["SoftmaxWithLoss", "Accuracy", "HingeLoss", "MultinomialLogisticLoss"])
def test_a_label_outside_the_classes(layer):
    net = one_layer(f"type: '{layer}'", (2, 5), (2,))
    with pytest.raises(converters.CaffeError, match=rf"layer 'l' \({layer}\): label 7 is outside 0 to 4"):
        run(net, np.zeros((2, 5)), [0, 7])


def test_loss_weights_on_any_top():
    net = converters.CaffeNet("""
        layer { name: 'd' type: 'Input' top: 'd' input_param { shape { dim: 2 dim: 3 } } }
        layer { name: 'e' type: 'Input' top: 'e' input_param { shape { dim: 2 dim: 3 } } }
        layer { name: 'square' type: 'Power' bottom: 'd' top: 'square' power_param { power: 2 } loss_weight: 0.5 }
        layer { name: 'loss' type: 'EuclideanLoss' bottom: 'd' bottom: 'e' loss_weight: 3 }
        layer { name: 'half' type: 'Slice' bottom: 'd' top: 'a' top: 'b' slice_param { axis: 0 }
                loss_weight: 0 loss_weight: 2 }""")
    d, e = torch.randn(2, 3), torch.randn(2, 3)
    expected = 0.5 * (d**2).sum() + 3 * ((d - e) ** 2).sum() / 4 + 2 * d[1].sum()
    torch.testing.assert_close(net.loss(d=d, e=e), expected)
    assert net.outputs == ["square", "a", "b"]  # the unnamed loss is no output, as in Caffe
