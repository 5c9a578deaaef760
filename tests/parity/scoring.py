"""The figures of mla eval, held against scikit-learn, scipy and numpy.

    python tests/parity/scoring.py build/libmla.so [SEED]
    python tests/parity/scoring.py build/libmla.so golden     the numbers of tests/train/test_scoring.c

Random scores with many ties, of two classes, several, flags and numbers, with and without weights: each figure within
1e-12. Needs scikit-learn and scipy. Exit code 1 when one is farther off.
"""

import ctypes as c
import sys
import warnings

import numpy as np
from scipy import stats
from sklearn import metrics

CLASSES, FLAGS, NUMBERS = range(3)
SCORES = ("accuracy macro_f1 micro_f1 auroc average_precision recall_at_fpr calibration_error brier "
          "mae rmse r2 spearman").split()  # fmt: skip
BINS = 15
I64, F64, U8 = c.POINTER(c.c_int64), c.POINTER(c.c_double), c.POINTER(c.c_uint8)


class Decisions(c.Structure):
    _fields_ = [("kind", c.c_int), ("rows", c.c_int64), ("labels", c.c_int64), ("positive", c.c_int64),
                ("units", I64), ("unit_count", c.c_int64), ("values", F64), ("truth", U8), ("said", U8),
                ("numbers", F64), ("order", I64), ("numbers_order", I64), ("ranks", F64)]  # fmt: skip


class Mla:
    def __init__(self, path):
        self.mla, self.context = c.CDLL(path), c.c_void_p()
        self.mla.mla_context_create(c.byref(self.context), None)

    def scores(self, kind, values, truth, positive, weights, rate):
        d, out = Decisions(), np.zeros(len(SCORES))
        rows, labels = values.shape
        self.mla.mla_decisions_create(self.context, c.byref(d), kind, c.c_int64(rows), c.c_int64(labels))
        d.positive = positive
        np.ctypeslib.as_array(d.values, (labels, rows))[:] = values.T
        np.ctypeslib.as_array(d.numbers if kind == NUMBERS else d.truth, (labels, rows))[:] = truth.T
        self.mla.mla_decisions_decide(c.byref(d), None)
        held = None if weights is None else np.ascontiguousarray(weights, np.float64)
        self.mla.mla_scores_of(c.byref(d), held.ctypes.data_as(F64) if held is not None else None,
                               c.c_double(rate), out.ctypes.data_as(F64))  # fmt: skip
        self.mla.mla_decisions_free(c.byref(d))
        return dict(zip(SCORES, out))


def recall_at(truth, scores, weights, rate):
    fpr, tpr, _ = metrics.roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    return tpr[fpr <= rate].max()


def calibration(probability, right, weights):
    place = np.minimum(np.floor(probability * BINS), BINS - 1)
    off = [abs((weights * (probability - right))[place == b].sum()) for b in range(BINS)]
    return sum(off) / weights.sum()


def reference(kind, values, truth, positive, weights, rate):
    """The same by scikit-learn; rows x labels."""
    rows, labels = values.shape
    w = np.ones(rows) if weights is None else weights
    if kind == NUMBERS:
        each = [np.repeat(values[:, k], w.astype(int)) for k in range(labels)]
        true = [np.repeat(truth[:, k], w.astype(int)) for k in range(labels)]
        return {"mae": metrics.mean_absolute_error(truth, values, sample_weight=w),
                "rmse": np.sqrt(metrics.mean_squared_error(truth, values, sample_weight=w)),
                "r2": metrics.r2_score(truth, values, sample_weight=w),
                "spearman": np.mean([stats.spearmanr(a, b)[0] for a, b in zip(each, true)])}  # fmt: skip
    asked = [positive] if positive >= 0 else range(labels)
    out = {}
    if kind == FLAGS:
        said = values >= 0.5
        out["brier"] = np.average(((values - truth) ** 2).mean(1), weights=w)
        p, right, pw = values.ravel(), truth.ravel(), np.repeat(w, labels)
        f1 = {a: metrics.f1_score(truth, said, average=a, sample_weight=w, zero_division=0) for a in ("macro", "micro")}
    else:
        true, best = truth.argmax(1), values.argmax(1)
        said = np.eye(labels)[best]
        p, right, pw = values.max(1), best == true, w
        if positive >= 0:
            p, right = values[:, positive], truth[:, positive]
            out["brier"] = metrics.brier_score_loss(right, p, sample_weight=w)
        else:
            out["brier"] = metrics.brier_score_loss(true, values, sample_weight=w, labels=range(labels),
                                                    scale_by_half=False)  # fmt: skip
        f1 = {a: metrics.f1_score(true, best, average=a, sample_weight=w, zero_division=0) for a in ("macro", "micro")}
    out["accuracy"] = metrics.accuracy_score(np.ones(rows), (said == truth).all(1), sample_weight=w)
    out["macro_f1"], out["micro_f1"] = f1["macro"], f1["micro"]
    columns = [(truth[:, k], values[:, k]) for k in asked]
    out["auroc"] = np.mean([metrics.roc_auc_score(t, s, sample_weight=w) for t, s in columns])
    out["average_precision"] = np.mean([metrics.average_precision_score(t, s, sample_weight=w) for t, s in columns])
    out["recall_at_fpr"] = np.mean([recall_at(t, s, w, rate) for t, s in columns])
    out["calibration_error"] = calibration(p, right, pw)
    return out


def random_case(random):
    kind, rows = int(random.integers(3)), int(random.integers(20, 400))
    labels = 2 if random.random() < 0.3 else int(random.integers(3, 7))
    grid = int(random.integers(4, 60))  # few values: many ties
    values = random.integers(0, grid, (rows, labels)) / (grid - 1)
    if kind == NUMBERS:
        truth = np.round(values + random.normal(size=values.shape), 1)
    elif kind == FLAGS:
        truth = random.random(values.shape) < 0.1 + 0.8 * values
        truth[0], truth[1] = True, False
    else:
        values = (values + 0.05) / (values + 0.05).sum(1, keepdims=True)
        classes = (values + random.gumbel(size=values.shape) / 5).argmax(1)
        classes[:labels] = range(labels)
        truth = np.eye(labels)[classes]
    positive = int(random.integers(2)) if kind == CLASSES and labels == 2 else -1
    weights = random.integers(1, 4, rows).astype(float) if random.random() < 0.5 else None
    return kind, values, truth, positive, weights, float(random.choice([0.01, 0.1, 0.3]))


def golden_cases():
    """As in tests/train/test_scoring.c."""
    i = np.arange(90)[:, None]
    k = np.arange(3)[None, :]
    raw = (i * (37 + 12 * k) + 11 * k) % 23 + 1.0
    flags = ((i * (29 + 10 * k) + 7 * k) % 41) / 40
    two = ((i[:, 0] * 79 + 13) % 31 + 1) / 33
    truth = np.eye(3)[(i[:, 0] ** 2 + 3 * i[:, 0]) % 7 % 3]
    odd = ((i[:, 0] ** 2 + i[:, 0]) % 5 < 2).astype(int)
    numbers = (i * (17 + k) % 23) / 4.0
    weights = (i[:, 0] % 3 + 1).astype(float)
    return {"classes": (CLASSES, raw / raw.sum(1, keepdims=True), truth, -1, None, 0.1),
            "weighted": (CLASSES, raw / raw.sum(1, keepdims=True), truth, -1, weights, 0.1),
            "flags": (FLAGS, flags, (i * (k + 2) % 5 < 2).astype(int), -1, None, 0.1),
            "two": (CLASSES, np.stack([1 - two, two], 1), np.eye(2)[odd], 1, None, 0.1),
            "numbers": (NUMBERS, numbers, numbers + (i * (7 + k) % 11) / 2.0, -1, None, 0.1)}  # fmt: skip


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    if sys.argv[2:] == ["golden"]:
        for name, case in golden_cases().items():
            wanted = reference(*case)
            print(name, ", ".join(f"{wanted[s]:.17g}" if s in wanted else "NAN" for s in SCORES))
        return
    mla, random = Mla(sys.argv[1]), np.random.default_rng(int(sys.argv[2]) if sys.argv[2:] else 0)
    worst = dict.fromkeys(SCORES, 0.0)
    for _ in range(500):
        case = random_case(random)
        ours, theirs = mla.scores(*case), reference(*case)
        for score in SCORES:
            if score in theirs and np.isfinite(theirs[score]):
                worst[score] = max(worst[score], abs(ours[score] - theirs[score])) if ours[score] == ours[score] else 1
            elif ours[score] == ours[score]:
                worst[score] = 1
    for score, off in worst.items():
        print(f"{score:20} {off:.1e}")
    sys.exit(int(max(worst.values()) > 1e-12))


main()
