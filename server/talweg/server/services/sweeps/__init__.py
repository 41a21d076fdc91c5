"""Sweeps: created, run, controlled, followed and answered.

creation    from a request to a row
running/    has each sweep go on
settling    trials whose jobs have ended; the ends of sweeps
reusing     jobs of the record that a sweep takes over
control     pause, resume, cancel, more trials, trials again
lookup      reading, watching
answering   what a sweep shows
"""
