"""The Hugging Face Hub, through its own client.  Needs no torch.

Cache, resuming, locks between processes, tokens, mirrors and offline mode are `huggingface_hub`'s:
``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and ``HF_TOKEN`` mean what they mean everywhere.
"""

from __future__ import annotations

import re
from logging import ERROR
from pathlib import Path

from sr_cli import __version__
from sr_cli.zoo.manifest import HubFile, ZooError

PREFIX = "hf:"


def parse_reference(text: str) -> HubFile:
    """A reference as users write it.

    Args:
        text: ``hf:owner/repo/file[@revision]``; the file may lie in folders.

    Raises:
        ZooError: It is not of that form.
    """
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)/([^@]+?)(?:@([^@]+))?", text)
    if not found or any(part in ("", ".", "..") for part in found[2].split("/")):
        raise ZooError(
            f"'{text}' is not of the form hf:owner/repo/file[@revision], such as "
            "hf:owner/repo/model.safetensors."
        )
    return HubFile(found[1], found[2], found[3])


def parse_repository(text: str) -> None:
    """Check the name of a repository.

    Raises:
        ZooError: It is not of the form ``owner/name``.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise ZooError(f"'{text}' is not of the form owner/repo, such as me/my-model.")


def fetch(file: HubFile) -> Path:
    """A file from the Hub's cache, or downloaded into it.

    A file of a full commit that is in the cache needs no network.  Progress is shown on standard
    error if that is a terminal.

    Raises:
        ZooError: It cannot be had; the message says why and what would help.
    """
    _quiet()
    try:
        if cached(file) is None:
            _reach(file)
        return _downloaded(file)
    # The client lets errors of the HTTP library beneath it through, and that has changed twice.
    except Exception as error:
        raise ZooError(_explained(file, error)) from None


def _downloaded(file: HubFile) -> Path:
    from huggingface_hub import errors, hf_hub_download

    def download() -> Path:
        path = hf_hub_download(
            file.repo,
            file.file,
            revision=file.revision,
            library_name="sr-cli",
            library_version=__version__,
        )
        return Path(path)

    try:
        return download()
    except (errors.HfHubHTTPError, errors.EntryNotFoundError):
        raise
    # Older clients go on with a broken download only when they are asked again.
    except Exception:
        return download()


def _reach(file: HubFile) -> None:
    """Ask once for a file, since the client tries for half a minute before it gives up.

    Raises:
        Exception: As the client raises them; `LocalEntryNotFoundError` if nobody answers.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    try:
        if not constants.HF_HUB_OFFLINE:
            get_hf_file_metadata(hf_hub_url(file.repo, file.file, revision=file.revision))
    except errors.HfHubHTTPError:
        raise
    # Which one depends on the HTTP library beneath.
    except Exception as error:
        raise errors.LocalEntryNotFoundError(str(error)) from error


def cached(file: HubFile) -> Path | None:
    """Where a file is in the Hub's cache, if it is; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo, file.file, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def forget(path: Path) -> None:
    """Delete a file of the Hub's cache, so that it is downloaded anew.

    Args:
        path: As `fetch` or `cached` return it: a link to a blob, which goes as well.
    """
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def upload(folder: Path, repo: str, *, private: bool = False) -> str:
    """Publish a folder as a model repository, which is made if there is none.

    Args:
        folder: What the repository is to hold.
        repo: ``owner/name``.
        private: Whether a repository that is made is hidden.

    Returns:
        The address of the commit.

    Raises:
        ZooError: Nobody is logged in, or the Hub refuses.
    """
    from huggingface_hub import HfApi, constants

    _quiet()
    api = HfApi(library_name="sr-cli", library_version=__version__)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(
            folder_path=folder, repo_id=repo, commit_message=f"Upload from sr-cli {__version__}"
        )
    # As in `fetch`.
    except Exception as error:
        if _status(error) in (401, 403):
            raise ZooError(
                f"The Hub does not let you write to {repo}. Log in with `hf auth login`, or put a "
                "token with write access into HF_TOKEN."
            ) from None
        if _is_of_the_network(error):
            raise ZooError(
                f"Cannot publish to {repo}: {constants.ENDPOINT} cannot be reached. Connect to the "
                "internet, or write the files with --dry-run."
            ) from None
        raise ZooError(f"Cannot publish to {repo}: {_reason(error)}") from None
    return str(done.commit_url)


def _quiet() -> None:
    from huggingface_hub.utils import logging

    # The client's notes on retries and missing tokens would come between our lines; what fails for
    # good is told as an error.
    logging.set_verbosity(ERROR)


def _explained(file: HubFile, error: Exception) -> str:
    """An error of the client as one or two sentences."""
    from huggingface_hub import constants, errors

    name, repo = file.file, file.repo
    # Gated is a kind of not found, and absent from the cache a kind of absent: special ones first.
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repo} is gated. Accept its terms on the Hub, then log in with `hf auth login` or "
            "set HF_TOKEN."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"There is no repository {repo} on the Hub, or it is private. Check the name, or log "
            "in with `hf auth login` or HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {file.revision}. Leave @revision out for the main branch."
    if isinstance(error, errors.LocalEntryNotFoundError):
        if constants.HF_HUB_OFFLINE:
            return (
                f"{name} of {repo} is not in the local cache, and HF_HUB_OFFLINE forbids to fetch "
                "it. Unset that for the first run, or name a weights file."
            )
        return (
            f"{name} of {repo} is not in the local cache, and {constants.ENDPOINT} cannot be "
            "reached. Connect to the internet, or name a weights file."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return f"{repo} has no file {name}. See its files on the Hub for the right name."
    if _status(error) == 401:
        return f"The Hub does not accept your token for {repo}. Log in anew with `hf auth login`."
    return f"Cannot fetch {name} of {repo}: {_reason(error)} Try again later."


def _is_of_the_network(error: Exception) -> bool:
    """Whether nobody answered, whichever HTTP library is beneath the client."""
    library = type(error).__module__.partition(".")[0]
    beneath = library.startswith("httpx") or library in ("requests", "urllib3")
    return _status(error) is None and (beneath or isinstance(error, ConnectionError))


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0] if lines else type(error).__name__}".rstrip(".") + "."
