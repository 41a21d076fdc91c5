"""Four losses under outlying targets, in plain PyTorch: what a service's result is held against.

scikit-learn's diabetes data, a tenth of the training targets moved up by 5 to 10 sd, inputs and
targets standardised by the training part, a small MLP. The test targets stay clean; the figure is
the mean absolute error in their own units. client/examples/diabetes_losses.yaml is the same as
jobs.

    python tests/benchmarks/diabetes_outliers.py
"""

import math
import statistics
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 64
LEARNING_RATE = 2e-4
WEIGHT_DECAY = 0.01
EPOCHS = 400
BATCH_SIZE = 32
OUTLIER_SHARE = 0.1
OUTLIER_LOW_SD, OUTLIER_HIGH_SD = 5.0, 10.0
SEEDS = (0, 1, 2)


def log_cosh(pred: Tensor, target: Tensor) -> Tensor:
    """Mean of log cosh(pred - target), in a form that does not overflow."""
    size = (pred - target).abs()
    return (size + F.softplus(-2 * size) - math.log(2)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,  # delta = 1, in units of the standardised targets
    "log_cosh": log_cosh,
}


def run(
    loss: str, seed: int, *, epochs: int = EPOCHS, learning_rate: float = LEARNING_RATE
) -> float:
    """Train once and return the test MAE on clean targets, in the target's units.

    Args:
        loss: One of `LOSSES`.
        seed: Decides the split, the outliers, the first weights and the order of the batches.
        epochs: How often all samples are seen.
        learning_rate: Of AdamW.
    """
    torch.set_num_threads(1)
    inputs, targets = load_diabetes(return_X_y=True)
    n_held = math.floor(0.2 * len(inputs))
    n_train = len(inputs) - 2 * n_held
    order = np.random.default_rng(seed).permutation(len(inputs))
    train, test = order[:n_train], order[n_train + n_held :]

    rng = np.random.default_rng(seed)
    y = targets[train].copy()
    moved = rng.choice(n_train, round(OUTLIER_SHARE * n_train), replace=False)
    y[moved] += y.std() * rng.uniform(OUTLIER_LOW_SD, OUTLIER_HIGH_SD, len(moved))

    x_mean, x_sd = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    y_mean, y_sd = y.mean(), y.std()
    x_train = torch.tensor((inputs[train] - x_mean) / x_sd, dtype=torch.float32)
    y_train = torch.tensor((y - y_mean) / y_sd, dtype=torch.float32)[:, None]
    x_test = torch.tensor((inputs[test] - x_mean) / x_sd, dtype=torch.float32)

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        permutation = torch.randperm(n_train, generator=generator)
        x_epoch, y_epoch = x_train[permutation], y_train[permutation]
        for start in range(0, n_train, BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            optimizer.zero_grad(set_to_none=True)
            LOSSES[loss](model(x_epoch[batch]), y_epoch[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    with torch.no_grad():
        pred = model(x_test)[:, 0].double().numpy() * y_sd + y_mean
    return float(np.abs(pred - targets[test]).mean())


def main() -> None:
    """Print test MAE for every loss and seed."""
    print(f"{'loss':<10}{'mean':>8}{'sd':>7}   seeds {', '.join(map(str, SEEDS))}")
    for loss in LOSSES:
        maes = [run(loss, seed) for seed in SEEDS]
        each = "  ".join(f"{mae:.2f}" for mae in maes)
        print(f"{loss:<10}{statistics.mean(maes):8.2f}{statistics.stdev(maes):7.2f}   {each}")


if __name__ == "__main__":
    main()
