"""The client in ten lines. It needs a running stack: `talweg up`."""

from talweg.client import Client

SPEC = {"task": "regression", "dataset": "diabetes", "model": {"mlp": {"hidden": [64]}}}

with Client() as client:
    jobs = client.submit_many(
        {**SPEC, "loss": loss, "training": {"epochs": 30, "seed": seed}}
        for loss in ("mse", "mae", "huber")
        for seed in range(3)
    )
    for job in jobs:
        print(job.id, job.result().metrics["test/mae"])
    print(client.compare(jobs))
