"""The search for good settings of a sweep, in a process of its own: `python -m talweg.search`.

The server stays free of numpy, scipy and Optuna: it starts this, writes a question as a line of
JSON to its standard input, and reads the answer as a line from its standard output. Modules by
duty:

    question     what is asked, as the server writes it
    answering    which algorithm answers; what is kept for the next question
    sobol        quasi-random settings, from scipy's Sobol sequence
    tpe          settings by the tree-structured Parzen estimator, from a study of Optuna's
    parameters   between settings and the parameters of a study

A question holds all that the answer depends on: the space, the trials so far, the seed. What is
kept makes the next answer quicker and never another one, so that this process, and the server, may
end at any time.
"""
