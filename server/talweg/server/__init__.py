"""The Talweg server: takes jobs over gRPC, keeps their record, and hands them out to workers.

Layers, each of which calls only those below it:

    commands      the command line: `talweg server`, `talweg db`
    serving       puts the parts together, starts and stops them
    servicers     gRPC: convert, call a service, convert
    services      the rules
    queueing      Celery tickets, lost workers, why a job waits
    events        live events: fan-out to watchers, across replicas by a Redis stream
    store         SQL

The SQL database alone holds the record. Whatever is in Redis may be lost at any time.
"""
