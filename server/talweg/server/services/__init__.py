"""The rules of the service. They know nothing of gRPC, and raise the errors of `errors`."""
