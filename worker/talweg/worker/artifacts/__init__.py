"""What is left of a trained model: its description, the predictor and its MLflow flavour."""
