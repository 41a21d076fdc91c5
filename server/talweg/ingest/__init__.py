"""Reads a file of data, in a process of its own: `python -m talweg.ingest`.

What users upload is read here and nowhere else, with limits on memory and time; the server starts
this and looks at nothing but what comes out. Modules by format:

    tables/     CSV, Parquet, Arrow: columns of single values
    arrays/     NumPy, safetensors: named arrays with one first dimension
    images/     folders of images with labels, as .tar
    describe    what is known of each column: types, quantiles, histograms, missing values
    write       the canonical form, and its digest

What is wrong with a file is a list of `Problem`s, each with its place in the file.
"""
