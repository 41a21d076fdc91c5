"""Job files: from text to specs and back."""

import json
from typing import Any, NoReturn

from google.protobuf.message import Message

from talweg.spec.errors import SpecError, Violation, shown
from talweg.spec.reading.json_form import from_dict, to_dict
from talweg.v1.spec_pb2 import JobSpec

MAX_TEXT = 1024 * 1024


def parse(text: str, *, source: str = "job file") -> JobSpec:
    """Read a job file.

    Args:
        text: YAML or JSON, at most 1 MiB.
        source: What to call the text in errors, such as its file's name.

    Returns:
        The spec, with what the text gives and nothing else: see `fill`.

    Raises:
        SpecError: With all violations, or with the one place where the text is neither YAML nor
            JSON (the violation's field is then ``SOURCE:LINE:COLUMN``).
    """
    return from_dict(read(text, source=source))


def to_yaml(spec: Message) -> str:
    """Write the spec of a job or a sweep as a file that gives the same spec again."""
    from talweg.spec.reading import yaml_text  # noqa: PLC0415 - see _read_yaml

    return yaml_text.dump(to_dict(spec))


def read(text: str, *, source: str) -> object:
    """Read YAML or JSON as plain data: objects, lists, texts, numbers, flags and None.

    Args:
        text: At most 1 MiB.
        source: What to call the text in errors.

    Raises:
        SpecError: Where it is neither, or too large.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT:
        _refuse(source, f"{size} bytes", f"at most {MAX_TEXT} bytes")
    if text.lstrip().startswith("{"):
        try:
            return json.loads(
                text, object_pairs_hook=_object_of_pairs, parse_constant=_refuse_constant
            )
        except RecursionError:
            _refuse(source, "an object nested too deeply", "at most 50 levels")
        except _TwiceError as exc:
            _refuse(source, f"the name {shown(exc.name)} twice", "each name once")
        except ValueError:
            # It may still be YAML, whose reader also tells line and column.
            pass
    return _read_yaml(text, source)


def _read_yaml(text: str, source: str) -> object:
    import yaml  # noqa: PLC0415 - slow to import, and only job files need it

    from talweg.spec.reading import yaml_text  # noqa: PLC0415 - imports yaml

    allowed = "YAML or JSON"
    try:
        return yaml_text.load(text)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        at = source if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"
        problem = exc.problem or exc.context or "a syntax error"
        if "'\\t'" in problem:
            problem, allowed = "a tab", "only spaces before a name"
        _refuse(at, problem.removeprefix("but ").removeprefix("found "), allowed, exc)
    except yaml.reader.ReaderError as exc:
        before = text[: exc.position]
        line, column = before.count("\n") + 1, exc.position - before.rfind("\n")
        _refuse(f"{source}:{line}:{column}", "a character that YAML does not allow", allowed, exc)
    except (yaml.YAMLError, ValueError) as exc:
        _refuse(source, str(exc), allowed, exc)


class _TwiceError(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _TwiceError(name)
        result[name] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse(field: str, found: str, allowed: str, exc: Exception | None = None) -> NoReturn:
    raise SpecError([Violation(field, found, allowed)]) from exc
