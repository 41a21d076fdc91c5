"""The mathematics of losses as plain functions of tensors.

They take tensors of one floating dtype, float32 or float64, whose shapes and values have been
checked, and give a value a sample where the loss has them: reducing is the caller's part. Values
and gradients are finite at extreme logits, at zero distance and in degenerate batches.
"""
