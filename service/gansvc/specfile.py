"""Reading a job file: safe YAML, size limits, and pydantic's findings put into plain sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gansvc.errors import SpecError
from gansvc.spec import JobSpec

LIMIT = 256 * 1024
"""Largest job file, bytes."""
DEEPEST = 20
"""Levels of nesting; a deeper file would cost the parser quadratic time."""
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


def load(path: Path | str) -> JobSpec:
    """Read and validate a job file.

    Raises:
        SpecError: the file is missing, too large, not UTF-8 text, not YAML, or not a valid spec.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LIMIT + 1)
    except IsADirectoryError:
        raise SpecError(f"{path} is a folder; give the path of a job file") from None
    except OSError as error:
        raise SpecError(f"{path} can't be read ({error.strerror}); give the path of a job file") from None
    if len(raw) > LIMIT:
        raise SpecError(f"{path} is larger than {LIMIT // 1024} KiB; a job file is a page of YAML")
    try:
        return parse(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8 YAML") from None
    except SpecError as error:
        raise SpecError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def parse(text: str) -> JobSpec:
    """Validate a spec given as YAML text.

    Raises:
        SpecError: the text is not YAML, uses aliases, or is not a valid spec.
    """
    return validated(parse_value(text))


def parse_value(text: str) -> Any:
    """Return the plain data of a YAML text; ``1e-4`` is a number, keys appear once, aliases are refused.

    Raises:
        SpecError: the text is not such YAML.
    """
    try:
        depth = 0
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > DEEPEST:
                raise SpecError(
                    f"line {token.start_mark.line + 1}: nested deeper than {DEEPEST} levels; see `gansvc init`"
                )
            if isinstance(token, yaml.AliasToken):
                raise SpecError(
                    f"line {token.start_mark.line + 1}: a job file has no aliases (*{token.value}); write it out"
                )
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise SpecError(f"{line}not valid YAML ({error.problem}); mend that line") from None
    except yaml.YAMLError as error:
        raise SpecError(f"not valid YAML ({str(error).splitlines()[0]}); a job file is plain text") from None
    except RecursionError:
        raise SpecError("nested too deeply for a job file; see `gansvc init` for its form") from None
    except ValueError as error:
        raise SpecError(f"not valid YAML ({error}); mend that value") from None


def validated(data: Any) -> JobSpec:
    """Validate plain data as a spec; every finding becomes one line with the path, the value and the fix.

    Raises:
        SpecError: the data is not a valid spec.
    """
    if not isinstance(data, dict):
        raise SpecError("a job file is a mapping of name, dataset, losses, ...; see `gansvc init` for a starter")
    try:
        return JobSpec.model_validate(_frozen(data))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # pydantic calls a list with a bad item also too short: the item's own finding says it better.
        errors = [e for e in errors if e["type"] != "too_short" or not any(_within(o["loc"], e["loc"]) for o in errors)]
        findings = [_sentence(finding, data) for finding in errors]
        raise SpecError("\n".join(dict.fromkeys(findings))) from None


def dump(spec: JobSpec) -> str:
    """Return the resolved spec as YAML, every default written out."""
    data = spec.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads ``1e-4`` as YAML 1.2 does and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _frozen(data: Any) -> Any:
    """Turn lists into tuples, all the way down: a strict tuple field takes no list."""
    if isinstance(data, dict):
        return {key: _frozen(value) for key, value in data.items()}
    return tuple(_frozen(value) for value in data) if isinstance(data, (list, tuple)) else data


def _within(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _sentence(finding: Any, data: Any) -> str:
    path = _path(finding["loc"], data)
    if finding["type"] == "missing":
        return f"{path} is missing; add it"
    text = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "space":
        return f"{path}.{text}"
    if finding["type"] in _OWN:
        return f"{path}: {text}" if path else text
    text = text.replace("Input should be", "must be").replace("Input should have", "must have")
    text = text.replace("String should match pattern", "must match the pattern").replace("Tuple should", "it should")
    text = text.replace("valid tuple", "list").replace("valid dictionary or object to extract fields from", "mapping")
    text = text.replace(" after validation", "").replace("valid dictionary or instance of", "mapping, or a name, of a")
    return f"{path}: {_shown(finding['input'])} doesn't fit; it {text.removeprefix('it ')}"


_OWN = {
    *("unknown_field", "unknown_name", "one_kind", "range", "size"),
    *("path", "batch", "seeds", "labels", "reference"),
}
"""Types of our own findings, whose sentences already hold the value and the fix."""


def _path(loc: tuple[int | str, ...], data: Any) -> str:
    """Write a location as the user wrote it, leaving out the union tags that pydantic puts in."""
    path, node = "", data
    for position, part in enumerate(loc):
        if isinstance(part, int):
            path += f"[{part}]"
            node = node[part] if isinstance(node, (list, tuple)) and part < len(node) else None
        elif _is_tag(part, node, last=position == len(loc) - 1):
            continue
        else:
            path += f".{part}" if path else part
            node = node.get(part) if isinstance(node, dict) else None
    return path


def _is_tag(part: str, node: Any, last: bool) -> bool:
    """Return whether pydantic, not the user, put this part into the path: a union's tag or a validator's name."""
    if isinstance(node, dict):
        return part not in node and (not last or part == node.get("name"))
    return isinstance(node, str)


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
