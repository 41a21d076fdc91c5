"""Sweeps on their way: from one look of the runner to the next.

runner      looks at each sweep: settles what has ended, submits what is next
deciding    whether compared values get more seeds
pruning     trials that are behind by their curves (ASHA)
pairing     trials that are behind in pairs of seeds (Wilcoxon)
submitting  the jobs that are next
"""
