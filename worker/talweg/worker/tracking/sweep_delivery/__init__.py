"""Runs that are written from the record of sweeps: the summary of each, and those of settings.

reading      the record of a sweep, through the server
contents     what a summary holds
summary      its way to MLflow, exactly once
setting      what the run of a setting holds
setting_delivery  its way to MLflow, exactly once
duty         all of them, beside the delivery of jobs
"""
