"""The tasks binary, multiclass and multilabel."""
