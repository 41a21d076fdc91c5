"""What a job leaves in MLflow besides points: plots, weights, the model, diagnoses."""
