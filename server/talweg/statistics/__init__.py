"""The statistics of a comparison, in a process of its own: `python -m talweg.statistics`.

The server stays free of numpy and scipy: it starts this, writes a question as a line of JSON to
its standard input, and reads the answer as a line from its standard output. Modules by duty:

    intervals     of a mean: Student's t, studentised bootstrap, corrected for overlapping splits
    resampled_t   the corrected resampled t test, for splits that overlap
    sign_flip     the paired permutation test: exact, or Monte Carlo
    holm          p values corrected for several comparisons
    equivalence   two one-sided tests against a margin
    power         how many seeds show a difference
    skewness      values so skewed that an interval covers less than it says
    verdicts      all of them together, for the groups of a comparison
    question      what is asked, as the server writes it
    spending      bounds of a test that looks at its data several times
    sequential    the group-sequential design: when looks are taken, and what decides
    looks         a look at comparisons that are still open

Distributions are scipy.special's: scipy.stats, which has them too, takes half a second to import.

All functions are pure; random numbers are drawn from a fixed seed, so that the same question has
the same answer.
"""
