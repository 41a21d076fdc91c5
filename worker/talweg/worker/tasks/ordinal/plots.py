"""The confusion matrix of ranks, as that of classes."""

from talweg.worker.tasks.classification.plots import CLASSES

PLOTS = CLASSES
