"""Take jobs in: what a submission must pass, and the jobs that a spec refers to."""
