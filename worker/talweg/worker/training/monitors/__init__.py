"""Monitors: they look at a training and warn of what is probably not meant."""
