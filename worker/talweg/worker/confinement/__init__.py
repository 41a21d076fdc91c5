"""What the kernel keeps a process from, once it has asked for it: none of it can be undone.

    landlock     files and networks, by rules of the process's own (Linux 5.13)
    namespaces   processes, networks and shared memory of its own, where users may have them
    privileges   no new privileges, no capabilities, no view of its memory, limits on resources
    environment  the variables that code of others gets
    reading      the folders that Python and its packages need
    confining    all of it at once

Each says what this system offers, and does without what it lacks. No part knows what a job is.
"""
