"""Sweeps: created, run, controlled, followed and answered.

creation    from a request to a row
runner      has each sweep go on: settles what has ended, submits what is next
settling    trials whose jobs have ended; the ends of sweeps
deciding    whether compared values get more seeds
submitting  the jobs that are next
control     pause, resume, cancel, more trials, trials again
lookup      reading, watching
answering   what a sweep shows
"""
