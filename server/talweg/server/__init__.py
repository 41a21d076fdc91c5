"""The Talweg server: takes jobs over gRPC, keeps their record, and hands them out to workers.

Layers, each of which calls only those below it (.importlinter holds them):

    commands      the command line: `talweg server`, `talweg db`
    serving       puts the parts together, starts and stops them
    servicers     gRPC: convert, call a service, convert
    calls         what every call goes through: who it is from, errors as statuses
    services      the rules: how jobs are taken, claimed, reported on, ended, listed, compared
    queries       what lists and comparisons are asked with; beside it differences
    queueing      wake-up messages on Celery, which queues have workers, why a job waits
    events        live events: fan-out to watchers, across replicas by a Redis stream
    broker        Celery's settings, and Redis beside Celery
    identity      who calls, and what they may do
    store         SQL
    concurrency   threads in which callers take turns, processes that compute
    limits        what callers may take, by size, number and time
    errors        what can go wrong

The SQL database alone holds the record. Whatever is in Redis may be lost at any time.
"""
