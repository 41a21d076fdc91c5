"""Networks of the catalogue that are more than a list of layers."""
