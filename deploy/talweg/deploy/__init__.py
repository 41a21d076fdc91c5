"""The embedded stack: every service of Talweg on one machine, under one data folder.

`talweg up` (see `talweg.deploy.commands`) starts the services as processes and keeps them running:

    up ── guardian                 kills what is left should `up` itself be killed
       ├─ broker                   Valkey or Redis, on loopback, with a password
       ├─ server                   `talweg server`, on SQLite
       ├─ worker-0, worker-1, …    `talweg worker`, one a visible GPU or else one on the CPU, each
       │                           with the delivery of its results
       └─ tracking                 MLflow's server as one process, on SQLite

No service is imported here: the services' own packages need not know this one.
"""
