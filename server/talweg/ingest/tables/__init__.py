"""Tables: CSV, Parquet and Arrow become columns of single values."""
