"""Rules about how a job trains, is evaluated and diagnosed."""
