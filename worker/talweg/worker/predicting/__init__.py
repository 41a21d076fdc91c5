"""Predictions for callers without PyTorch, beside the worker's jobs.

    process     starts, in the worker's parent, a process for a prediction
    __main__    that process: takes the prediction from the server, and reports what it gave
    answering   what it does: fetch the model, have it computed, read what came out
    computing   a process of its own below that one, with limits: loads the model, and predicts
    folder      the files by which the last two speak

The parent touches neither tensors nor gRPC, and whatever a model or a table does to the process
that computes, the caller gets an answer.
"""
