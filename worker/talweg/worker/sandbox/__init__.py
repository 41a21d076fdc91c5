"""Jobs that run code of others, such as plug-ins, away from the worker's secrets and other jobs.

    sandbox       which jobs enter it, and a job's run in it
    limits        what such a job may take, and what it is told at a limit
    scratch       its folder, and the files it hands over there
    inputs        what it reads of the blob store
    messages      how the two sides speak
    fork_server   the worker's hold of the process that forks the jobs' processes
    forking       that process: it has no secrets, and PyTorch in memory
    inside        a job in its process: tells and asks the worker
    supervision   the worker's side: takes in what is told, watches the limits
    usage         what processes and folders take

The worker keeps the lease, the spool, the checkpoints and all that opens a door. The job's process
is forked from one that was started without them. It computes, and speaks by one socket.
"""
