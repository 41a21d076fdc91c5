"""The embedded stack: every service of Talweg on one machine, under one data folder.

`talweg up` (see `talweg.deploy.commands`) starts the services as processes and keeps them running:

    up ── guardian                 kills remaining processes if `up` itself is killed
       ├─ broker                   Valkey or Redis, on loopback, with a password
       ├─ server                   `talweg server`, on SQLite
       ├─ worker-0, worker-1, …    `talweg worker`, one per visible GPU or one on the CPU, each
       │                           with the delivery of its results
       └─ tracking                 MLflow's server as one process, on SQLite

The services are not imported here; each is a program of its own.
"""
