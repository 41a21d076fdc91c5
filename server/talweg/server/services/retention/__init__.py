"""Deleting jobs: on request, and by age. Nothing goes that another job needs."""
