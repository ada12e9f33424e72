"""Read and write job files: safe YAML, size limits, and a sentence for everything that is wrong."""

from __future__ import annotations

import base64
import re
import sys
import zlib
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from gansvc.errors import RunError, SpecError
from gansvc.escapes import printable
from gansvc.schema import explain
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job

LIMIT = 64 * 1024
"""Largest job file, bytes; the parser takes a second for it."""
DEEPEST = 20
"""Levels of nesting; a deeper file would cost the parser quadratic time."""
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


def starter() -> str:
    """Return a commented job file to begin with."""
    return files("gansvc.spec").joinpath("starter.yaml").read_text(encoding="utf-8")


def init(path: Path, force: bool = False) -> Path:
    """Write the starter file.

    Raises:
        SpecError: the file exists and ``force`` is off, or it can't be written.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError:
        raise SpecError(f"FILE: {path} exists; give another name, or --force to replace it") from None
    except OSError as error:
        raise SpecError(f"FILE: {path} can't be written ({error.strerror}); give another path") from None
    return path


def load(path: Path | str) -> JobSpec:
    """Read and validate a job file; ``-`` is the standard input.

    Raises:
        SpecError: the file is missing, too large, not UTF-8 text, not YAML, or not a valid spec.
    """
    is_standard_input = str(path) == "-"
    name = "standard input" if is_standard_input else printable(path)
    if "\0" in str(path):
        raise SpecError(f"{name} holds a zero byte; give the path of a job file")
    try:
        with nullcontext(sys.stdin.buffer) if is_standard_input else Path(path).open("rb") as file:
            raw = file.read(LIMIT + 1)
    except IsADirectoryError:
        raise SpecError(f"{name} is a folder; give the path of a job file") from None
    except OSError as error:
        raise SpecError(f"{name} can't be read ({error.strerror}); give the path of a job file") from None
    return read(raw, name)


def read(raw: bytes, name: str) -> JobSpec:
    """Validate the content of a job file, such as a job's own job.yaml; ``name`` says which in errors.

    Raises:
        SpecError: it is too large, not UTF-8 text, not YAML, or not a valid spec.
    """
    if len(raw) > LIMIT:
        raise SpecError(f"{name} is larger than {LIMIT // 1024} KiB; a job file is a page of YAML")
    try:
        return parse(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SpecError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8 YAML") from None
    except SpecError as error:
        raise SpecError("\n".join(f"{name}: {line}" for line in str(error).split("\n"))) from None


def read_submitted(job: Job) -> JobSpec:
    """Return the spec that a job was submitted with.

    Raises:
        RunError: its folder holds none.
        SpecError: what it holds isn't a valid spec.
    """
    raw = Folder(job.folder).read(layout.JOB)
    if raw is None:
        raise RunError(f"{job.id}: its submission was cut off before anything ran; submit it again")
    return read(raw, f"{job.folder}/{layout.JOB}")


def parse(text: str) -> JobSpec:
    """Validate a spec given as YAML text.

    Raises:
        SpecError: the text is not YAML, uses aliases or tags, or is not a valid spec.
    """
    return validate(parse_value(text))


def parse_value(text: str) -> Any:
    """Return the plain data of a YAML text; ``1e-4`` is a number, keys appear once, aliases and tags are refused.

    Raises:
        SpecError: the text is not such YAML.
    """
    try:
        _refuse_what_no_job_file_has(text)
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


def _refuse_what_no_job_file_has(text: str) -> None:
    """Refuse what makes little text much work, and tags, on whose values PyYAML's own constructors stumble."""
    if len(text) > LIMIT:
        raise SpecError(f"larger than {LIMIT // 1024} KiB; a job file is a page of YAML")
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        line = f"line {token.start_mark.line + 1}"
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > DEEPEST:
            raise SpecError(f"{line}: nested too deeply (over {DEEPEST} levels); see `gansvc init`")
        if isinstance(token, yaml.AliasToken):
            raise SpecError(f"{line}: a job file has no aliases (*{token.value[:40]}); write it out")
        if isinstance(token, yaml.TagToken):
            tag = "".join(part or "" for part in token.value)
            raise SpecError(
                f"{line}: not valid YAML for a job file, which has no tags ({tag[:40]}); write the plain value"
            )


def validate(data: Any) -> JobSpec:
    """Validate plain data as a spec; every finding becomes one line with the path, the value and the fix.

    Raises:
        SpecError: the data is not a valid spec.
    """
    if not isinstance(data, dict):
        raise SpecError("a job file is a mapping of name, dataset, losses, ...; see `gansvc init` for a starter")
    return explain.validate(JobSpec, data)


def dump(spec: JobSpec) -> str:
    """Return the resolved spec as YAML, every default written out."""
    return _dump(spec.model_dump(mode="json", exclude_none=True), default_flow_style=None)


def pack(spec: JobSpec) -> str:
    """Return a spec as one word of a command line: base64 of zlib of YAML."""
    return base64.b64encode(zlib.compress(dump(spec).encode(), 9)).decode()


def unpack(word: str) -> JobSpec:
    """Return the spec of such a word.

    Raises:
        SpecError: it isn't a valid spec.
    """
    try:
        # A word from elsewhere may stand for gigabytes.
        text = zlib.decompressobj().decompress(base64.b64decode(word), LIMIT + 1).decode()
    except (ValueError, zlib.error) as error:
        raise SpecError(f"--spec: that is no packed spec ({error}); submit the job file again") from None
    return parse(text)


def dump_plain(data: Any) -> str:
    """Return plain data as YAML without anchors: what is there twice is written twice."""
    return _dump(data)


def _dump(data: Any, **form: Any) -> str:
    text = yaml.dump(data, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110, **form)
    # The escapes of text that is shown are YAML's own ones too, between double quotes.
    return printable(text, keep="\n")


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        is_plain = printable(data, keep="\n") == data
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if is_plain else '"')


_Plain.add_representer(str, _Plain.represent_str)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses a key given twice and reads numbers as YAML 1.2 does.

    So ``1e-4`` is a number, and ``1:30`` and ``010`` are strings, not 90 and 8.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# The dumper knows both kinds of numbers: a name like 1e5 is written between quotes.
for _form in (_Loader, _Plain):
    _form.add_implicit_resolver(_INT, re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))
    _form.add_implicit_resolver(
        _FLOAT,
        re.compile(
            r"^[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|nan)$"
        ),
        list("-+.0123456789"),
    )
