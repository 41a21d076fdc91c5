"""The settings that a sweep tries next.

asking      by its algorithm: from the plan, or from the search process
process     the search process, which alone loads Optuna
"""
