"""The task metric_learning."""
