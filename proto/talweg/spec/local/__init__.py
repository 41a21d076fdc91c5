"""What programs on one machine find of each other: files, variables, folders."""
