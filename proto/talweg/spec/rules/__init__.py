"""The rules that hold between the fields of a spec, a module a subject."""
