"""The API and the catalogue: generated from the .proto files beside this one."""
