"""Fine-tuning: starting weights, frozen parameters, and learning rates by parameter."""
