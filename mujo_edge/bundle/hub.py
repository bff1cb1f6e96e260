"""Bundles on a model hub: `push` publishes one, `pull` gets one, with huggingface_hub (extra `hub`).

The Hub is the one at HF_ENDPOINT, as for every program that uses huggingface_hub; so are the token (HF_TOKEN, or what
`hf auth login` left), proxies and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mujo_edge.bundle import verify
from mujo_edge.bundle.manifest import REPAIR, Manifest, read_json, read_manifest
from mujo_edge.bundle.store import max_bundle_bytes, max_file_bytes
from mujo_edge.core import DataError, DeviceError, MujoError, UsageError, require_extra
from mujo_edge.files import atomic_directory
from mujo_edge.folders import bundle_store
from mujo_edge.printable import inside
from mujo_edge.schema import MAX_JSON_BYTES
from mujo_edge.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from mujo_edge.bundle.metered import Meter

MANIFEST = "bundle.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT_S = 10.0
"""Seconds to wait for the first response; downloads have huggingface_hub's own limits."""

ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_XET": "1",  # splits large files into shared chunks; ours are small, and plain HTTP passes proxies
}


@dataclass(frozen=True, slots=True)
class Pushed:
    """Result of `push`. `created`: the repository is new; `changed`: it has a new commit. `notes` are the Hub's remarks
    on the model card."""

    manifest: Manifest
    url: str
    commit: str
    files: int
    size: int
    created: bool
    changed: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a download: `files` of the bundle, `minutes` for all of them, `slowest_kb_s` of each."""

    files: int = 500
    minutes: float = 10.0
    slowest_kb_s: float = 1.0


DEFAULT_LIMITS = Limits()


def push(
    bundle: str | Path | None, repo: str, private: bool = False, report: Callable[[str], None] = lambda doing: None
) -> Pushed:
    """Check a bundle, and publish it as a model repository in one commit. The card is also its README.md.

    Args:
        bundle: a bundle's folder or name; None for the shipped default. Its hashes are checked and its models run.
        repo: OWNER/NAME; made where there is none.
        private: make it visible to its owner alone; a repository that is there stays as visible as it is.
        report: called with a description of each step.

    Raises:
        UsageError: no such bundle or owner; no token, or one that may not write there.
        DataError: the bundle is damaged, or its card's front matter is not as the Hub wants it.
        DeviceError: the Hub cannot be reached or went away; what it had before is unchanged.
        MissingExtraError: huggingface_hub is not installed.
    """
    api = _client(repo)
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import RepositoryNotFoundError

    report("checking the bundle")
    manifest = read_manifest(bundle)
    verify(manifest)
    paths = {name: manifest.folder / name for name in (MANIFEST, *manifest.files)}
    paths["README.md"] = manifest.folder / manifest.card
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in paths.items()]
    report(f"publishing {repo}")
    with _explained(repo), warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        try:
            before = api.model_info(repo, timeout=TIMEOUT_S).sha
        except RepositoryNotFoundError:
            before = None
            api.create_repo(repo, private=private, exist_ok=True)
        done = api.create_commit(repo, additions, commit_message=f"{manifest.name} {manifest.version}")
    return Pushed(
        manifest=manifest,
        url=f"{api.endpoint}/{repo}",
        commit=done.oid,
        files=len(paths),
        size=sum(path.stat().st_size for path in paths.values()),
        created=before is None,
        changed=done.oid != before,
        notes=tuple(str(remark.message) for remark in remarks if remark.category is UserWarning),
    )


def pull(
    repo: str,
    out: Path | None = None,
    revision: str | None = None,
    report: Callable[[str], None] = lambda doing: None,
    limits: Limits = DEFAULT_LIMITS,
) -> Manifest:
    """Download and check a published bundle -> its folder in the user's store or `out`; complete or not there at all.

    Only what its bundle.json names is taken, all from one commit.

    Args:
        repo: OWNER/NAME.
        out: folder of the bundle's folder; None for the store, where `find_bundle` finds OWNER/NAME. A bundle that is
            there under this name is replaced.
        revision: branch, tag or commit; None for the main branch.
        report: called with a description of each step.
        limits: of files, time and speed. Sizes are limited as in `read_manifest`.

    Raises:
        UsageError: no such repository or revision, or none that you may see; `out` holds something else under this
            name, or cannot be written.
        DataError: the repository holds no bundle, or one that is damaged, too large, newer than this mujo-edge, or
            does not compute what it should.
        DeviceError: the Hub cannot be reached, is too slow, or went away.
        MissingExtraError: huggingface_hub is not installed.
    """
    api = _client(repo)
    from mujo_edge.bundle.metered import Meter

    folder = bundle_store() / repo if out is None else out / repo.rpartition("/")[2]
    with atomic_directory(folder, lambda path: (path / MANIFEST).is_file(), "model bundle") as partial:
        meter = Meter(limits.minutes, limits.slowest_kb_s, max_bundle_bytes())
        try:
            meter.run(lambda: _download(api, repo, revision, partial, report, limits.files, meter))
            report("checking the bundle")
            manifest = read_manifest(partial)
            verify(manifest)
        except DataError as error:
            raise DataError(f"{repo} is not taken: {str(error).replace(f'{partial}/', '')}") from error
    return replace(manifest, folder=folder)


def _download(
    api: HfApi,
    repo: str,
    revision: str | None,
    folder: Path,
    report: Callable[[str], None],
    most_files: int,
    meter: Meter,
) -> None:
    """Download the bundle.json of a repository and the files that it lists into `folder`."""
    report(f"asking for {repo}")
    meter.begin("the answer", MAX_JSON_BYTES)
    with _explained(repo):
        try:
            commit = api.model_info(repo, revision=revision, timeout=TIMEOUT_S).sha
        except ValueError as error:
            raise TypeError("its answer cannot be parsed") from error
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise TypeError("its answer names no commit")
    meter.begin(MANIFEST, MAX_JSON_BYTES)
    _fetch(api, repo, commit, MANIFEST, folder)
    names = _listed(folder / MANIFEST)
    if len(names) > most_files:
        raise DataError(f"it has {len(names):,} files, more than {most_files}. --max-files allows more")
    for name in names:
        report(f"getting {name}")
        meter.begin(name, max_file_bytes())
        _fetch(api, repo, commit, name, folder)
    shutil.rmtree(folder / ".cache")  # huggingface_hub's notes on the download


def _client(repo: str) -> HfApi:
    """A client of the Hub. Raises `UsageError` for an invalid repository name, and `MissingExtraError`."""
    os.environ.update(ENVIRONMENT)  # read when huggingface_hub is imported
    hub = require_extra("huggingface_hub", "hub")
    hub.logging.set_verbosity_error()  # it logs every retry
    try:
        hub.utils.validate_repo_id(repo)
    except hub.errors.HFValidationError as error:
        raise UsageError(f"{repo!r} is not the name of a repository; give OWNER/NAME") from error
    if repo.count("/") != 1:
        raise UsageError(f"{repo!r} has no owner; give OWNER/NAME")
    api: HfApi = hub.HfApi(library_name="mujo-edge", library_version=__version__)
    return api


def _fetch(api: HfApi, repo: str, commit: str | None, name: str, folder: Path) -> None:
    """Download a file of the repository into `folder`, under its own name."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _explained(repo):
        try:
            api.hf_hub_download(repo, name, revision=commit, local_dir=folder)
        except LocalEntryNotFoundError as error:
            raise error.__cause__ or error from None  # the reason why the Hub was not reached
        except EntryNotFoundError as error:
            raise DataError(f"it is no model bundle, or not a whole one: it has no {name}") from error


def _listed(path: Path) -> list[str]:
    """The files that a bundle.json lists, all within the bundle. Raises `DataError`."""
    files: Any = read_json(path).get("files")
    names = list(files) if isinstance(files, dict) else []
    if not names or not all(map(inside, names)):
        raise DataError(f"{path} does not name the files of a bundle. {REPAIR}")
    return names


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turn huggingface_hub's errors into `MujoError`s."""
    try:
        yield
    except MujoError:
        raise
    except Exception as error:  # huggingface_hub takes a hub's answers for granted: odd ones raise anything
        raise _explanation(repo, error) from error


def _explanation(repo: str, error: Exception) -> MujoError:
    """The `MujoError` for an error; checked from special to general, as huggingface_hub's errors are subclasses of each
    other."""
    import httpx2
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    if isinstance(error, errors.OfflineModeIsEnabled):
        return DeviceError(f"{hub} is not asked while HF_HUB_OFFLINE is set. Unset it and try again")
    if isinstance(error, errors.GatedRepoError):
        return UsageError(f"{repo} is restricted. Request access at {hub}/{repo}, then log in")
    if isinstance(error, errors.RevisionNotFoundError):
        return UsageError(f"{repo} has no such revision; see {hub}/{repo}/commits")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UsageError(f"{hub} has no {repo} that you may see; check the name. {LOG_IN} if it is private")
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(repo, hub, error)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError):
        return UsageError(f"{repo} cannot be written here: {error.strerror}; choose a folder that is yours, with room")
    network = isinstance(error, httpx2.HTTPError | OSError)
    if isinstance(error, JSONDecodeError) or not (network or isinstance(error, ValueError)):
        return DeviceError(
            f"{hub} does not answer as a model hub does. Check HF_ENDPOINT, and that no proxy is between"
        )
    if isinstance(error, ValueError):
        return DataError(f"{hub} does not take {repo}: {_one_line(error)}")
    return DeviceError(f"{hub} cannot be reached, or went away: {_one_line(error)}. Check the network and try again")


LOG_IN = "Log in with 'hf auth login', or set HF_TOKEN,"


def _refusal(repo: str, hub: str, error: Any) -> MujoError:
    """Meaning of an HTTP status without further information (RFC 9110, section 15)."""
    status = error.response.status_code
    reason = error.server_message or error.response.reason_phrase
    if status == 401:
        return UsageError(f"{hub} does not know who asks for {repo} ({reason}). {LOG_IN} and check the name")
    if status == 403:
        return UsageError(f"{hub} does not let you do that with {repo} ({reason}); use a token that has the right")
    if status == 400:
        return DataError(f"{hub} does not take {repo}: {_one_line(reason)}")
    return DeviceError(f"{hub} answers {status} for {repo} ({_one_line(reason)}). Try again later")


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split()) or type(reason).__name__
