"""Live events: what is committed is told to watchers here, and to other servers by Redis.

Nothing depends on being told: a watcher who misses an event finds it in the record.
"""
