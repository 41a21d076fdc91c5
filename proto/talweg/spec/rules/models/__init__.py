"""Rules about models: layers, starting weights, feature layers."""
