"""Losses made of other losses, of formulas and of plug-ins."""
