"""Runs that are written from the record of sweeps: the summary of each.

reading      the record of a sweep, through the server
contents     what a summary holds
summary      its way to MLflow, exactly once
duty         all of them, beside the delivery of jobs
"""
