"""Safetensors files."""

from safetensors import safe_open

from talweg.ingest.arrays.canonical import Array, content_of
from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Content, Request
from talweg.v1.datasets_pb2 import ReadOptions

_OF_NUMPY = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}


def read_safetensors(request: Request) -> Content:
    """Read a safetensors file.

    Raises:
        Refused: It cannot be stored; names arrays.
    """
    options = ReadOptions()
    options.CopyFrom(request.options)
    options.format = ReadOptions.safetensors
    if request.num_bytes > request.room:
        raise Refused(
            Problem(
                request.file_name,
                f"{request.num_bytes:,} bytes",
                f"at most {request.room:,}",
                "divide it, or have TALWEG_INGEST_MEMORY_BYTES raised",
            )
        )
    arrays: dict[str, Array] = {}
    problems = []
    with safe_open(request.path, framework="numpy") as file:
        for name in file.keys():
            dtype = str(file.get_slice(name).get_dtype())
            if dtype not in _OF_NUMPY:
                problems.append(
                    Problem(
                        f"array {quoted(name)}",
                        f"values of the type {dtype}",
                        ", ".join(sorted(_OF_NUMPY)),
                        "convert it to float32",
                    )
                )
                continue
            arrays[name] = file.get_tensor(name)
    if problems:
        raise Refused(*problems)
    return content_of(arrays, options, request.file_name)
