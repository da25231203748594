"""A local path or a Hub id, everywhere: fetch() turns either into a local folder or file."""

import hashlib
import re
from pathlib import Path

TOKENIZER_FILES = ("config.json", "generation_config.json", "tokenizer*.json", "*.jinja")
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")


class UserError(Exception):
    """A mistake of the person at the keyboard: what is wrong, where, and what to type instead."""


class Unreachable(UserError):
    """The Hub could not be asked: what it has is not known."""


def is_hub_id(source: str) -> bool:
    """True for owner/name that is neither on disk nor spelled like a file."""
    has_suffix = re.search(r"\.(jsonl?|gz|parquet|safetensors)$", source)
    has_owner = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source)
    return bool(has_owner and not has_suffix and not Path(source).exists())


def fetch(
    source: str, kind: str = "model", files=None, flag: str = "--init", revision=None, otherwise=""
) -> Path:
    """Local path of `source`, a path or a Hub id (`kind` model or dataset), downloading if needed.

    files: glob patterns to download; None takes everything. flag: the option to name in errors.
    revision: commit or branch (None: main). otherwise: what to do without a network.
    Raises UserError when there is no such path, no such id, or no network and no cached copy.
    """
    if not is_hub_id(source):
        path = Path(source).expanduser()
        if not path.exists():
            problem = "no such file or folder, and not a Hub id (owner/name)"
            raise UserError(f"{flag} {source}: {problem}")
        return path
    from huggingface_hub import errors, snapshot_download

    options = {"repo_type": kind, "revision": revision, "allow_patterns": files and list(files)}
    try:
        folder = Path(snapshot_download(source, **options))
        name = folder.parents[1] / f"refs/{revision}"  # on a mirror that commit may have another
        return folder.parent / name.read_text() if revision and name.is_file() else folder
    except errors.RepositoryNotFoundError as error:
        problem = f"the Hub has no {kind} of that name (if it is private, set HF_TOKEN)"
        raise UserError(f"{flag} {source}: {problem}") from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        otherwise = otherwise or f"copy it, then {flag} /path/to/{source.split('/')[-1]}"
        raise Unreachable(
            f"{flag} {source}: no such path here, and cannot download this {kind} ({reason});"
            f" without a network, {otherwise}"
        ) from error


def fingerprint(folder: Path, patterns=(*TOKENIZER_FILES, *WEIGHT_FILES), extra: str = "") -> str:
    """Tells models on disk apart: sha256 of `extra` and of the files' names, sizes and contents;
    of those over 2 MB, 64 kB at 32 places."""
    digest = hashlib.sha256(extra.encode())
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for i in range(32 if size > 2**21 else 1):
                file.seek(i * (size - 2**16) // 31 if size > 2**21 else 0)
                digest.update(file.read(2**16 if size > 2**21 else -1))
    return digest.hexdigest()
