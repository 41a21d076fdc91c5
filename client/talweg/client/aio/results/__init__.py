"""What a job leaves: files, models, predictions, registered models."""
