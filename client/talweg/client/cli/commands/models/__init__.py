"""What a trained job leaves: files, predictions, a registered model."""
