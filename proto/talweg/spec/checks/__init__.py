"""The checks of a spec: bounds of single fields, all rules, warnings, changes on continuation."""
