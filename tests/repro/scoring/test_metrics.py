import numpy as np
import pytest

from converters.errors import CaffeError
from repro.scoring.metrics import Confusion, scores


def by_masks(truths, predictions, num_classes):
    """The four scores and each class's IU from boolean masks, class by class: no confusion matrix."""
    truth = np.concatenate([t.ravel() for t in truths]).astype(int)
    prediction = np.concatenate([p.ravel() for p in predictions]).astype(int)
    prediction, truth = prediction[truth != 255], truth[truth != 255]
    acc, iu, weighted = [], [], 0.0
    for k in range(num_classes):
        both = np.count_nonzero((truth == k) & (prediction == k))
        either = np.count_nonzero((truth == k) | (prediction == k))
        if (truth == k).any():
            acc.append(both / np.count_nonzero(truth == k))
            weighted += np.mean(truth == k) * both / either
        iu.append(both / either if either else np.nan)
    means = {
        "pixel_acc": np.mean(truth == prediction),
        "mean_acc": np.mean(acc),
        "mean_iu": np.mean([x for x in iu if not np.isnan(x)]),
        "fw_iu": weighted,
    }
    return means, iu


def check(truths, predictions, num_classes):
    confusion = Confusion(num_classes)
    for truth, prediction in zip(truths, predictions, strict=True):
        confusion.add(truth, prediction)
    ours = confusion.scores()
    means, iu = by_masks(truths, predictions, num_classes)
    assert ours.means() == pytest.approx(means, rel=1e-12)
    np.testing.assert_allclose(ours.class_iu, iu, rtol=1e-12)
    return ours


def test_a_case_done_by_hand():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 1], [1, 255, 255]]), np.array([[0, 1, 1], [1, 2, 0]]))
    assert confusion.hist.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    ours = confusion.scores()
    assert ours.means() == pytest.approx({"pixel_acc": 3 / 4, "mean_acc": 3 / 4, "mean_iu": 7 / 12, "fw_iu": 7 / 12})
    assert ours.class_iu[:2] == pytest.approx([1 / 2, 2 / 3]) and np.isnan(ours.class_iu[2])


def test_void_is_in_no_score_however_much_of_it_there_is():
    truth, guess = np.array([[0, 0, 1], [1, 1, 0]], np.uint8), np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    alone, beside = Confusion(3), Confusion(3)
    alone.add(truth, guess)
    beside.add(np.vstack([truth, np.full((50, 3), 255, np.uint8)]), np.vstack([guess, np.full((50, 3), 2, np.uint8)]))
    assert beside.scores().means() == alone.scores().means()
    assert np.isnan(beside.scores().class_iu[2])  # predicted on void alone


def test_excluded_classes_count_in_no_mean_but_by_their_pixels():
    hist = np.array([[6, 2, 0], [1, 3, 0], [2, 0, 2]])
    ours = scores(hist, [2])
    assert ours.mean_acc == pytest.approx(np.mean([6 / 8, 3 / 4]))
    assert ours.mean_iu == pytest.approx(np.mean([6 / 11, 3 / 6]))
    assert ours.pixel_acc == scores(hist).pixel_acc == 11 / 16
    assert ours.fw_iu == scores(hist).fw_iu == pytest.approx((8 * 6 / 11 + 4 * 3 / 6 + 4 * 2 / 4) / 16)
    assert ours.class_iu[2] == 0.5


def test_random_maps_equal_masks():
    random = np.random.RandomState(0)
    truths = [random.choice([0, 1, 2, 3, 6, 255], (h, w)) for h, w in [(13, 17), (40, 9), (1, 1)]]
    check(truths, [random.choice([0, 1, 3, 4], truth.shape) for truth in truths], num_classes=7)


def test_a_class_predicted_but_never_true_counts_as_zero():
    ours = check([np.zeros((4, 4), np.uint8)], [np.eye(4, dtype=np.uint8)], num_classes=3)
    assert ours.mean_acc == 0.75 and ours.mean_iu == 0.375


def test_the_largest_class_count_and_the_order_of_rows():
    confusion = Confusion(255)
    confusion.add(np.array([[254]]), np.array([[3]], np.uint8))
    assert confusion.hist[254, 3] == 1 == confusion.hist.sum()
    assert confusion.hist.dtype == np.int64


def test_simple_predictors_on_the_real_label_images(shared):
    from PIL import Image

    truths = [np.array(Image.open(path)) for path in sorted(shared("voc-masks").glob("*.png"))[:40]]
    background = check(truths, [np.zeros_like(truth) for truth in truths], 21)
    shifted = check(truths, [np.where(np.roll(t, 8, 1) == 255, 0, np.roll(t, 8, 1)) for t in truths], 21)
    perfect = check(truths, truths_without_void(truths), 21)
    assert perfect.means() == {"pixel_acc": 1, "mean_acc": 1, "mean_iu": 1, "fw_iu": 1}
    assert background.mean_iu < 0.1 < shifted.mean_iu < 1


def truths_without_void(truths):
    return [np.where(truth == 255, 7, truth) for truth in truths]


@pytest.mark.parametrize(
    "truth, prediction, message",
    [
        ([[30]], [[0]], "the truth holds the label 30, which is none of the 21 classes"),
        ([[0]], [[21]], "the prediction holds the label 21"),
        ([[0]], [[255]], "the prediction holds the label 255"),
        ([[0, 0]], [[0]], "a prediction of .1, 1. cannot be scored against a truth of .1, 2."),
        ([[300]], [[0]], "the truth holds labels from 300 to 300"),
        ([[-1]], [[0]], "the truth holds labels from -1 to -1"),
        ([[0]], [[0.0]], "the prediction holds float64"),
    ],
)
def test_wrong_labels_are_refused_and_nothing_is_counted(truth, prediction, message):
    confusion = Confusion(21)
    with pytest.raises(CaffeError, match=message):
        confusion.add(np.array(truth), np.array(prediction))
    assert confusion.hist.sum() == 0


def test_nothing_to_score_is_said():
    confusion = Confusion(2)
    confusion.add(np.full((3, 3), 255), np.zeros((3, 3), np.uint8))
    with pytest.raises(CaffeError, match="nothing to score"):
        scores(confusion.hist)
