"""The losses of the catalogue, a module a family.

Each class takes the filled message of its loss. Its docstring gives the formula L of a value
before it is reduced, the message's fields as `Args`, the inputs with their shapes, what is
returned, and the paper; a test compares it with the message.
"""
