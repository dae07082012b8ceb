"""Files into a repository of the Hugging Face hub, by its own client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tltool.support.errors import RunError, first_line
from tltool.support.hub import endpoint
from tltool.support.wheels import offline

_LOGIN = "run `hf auth login`, or set HF_TOKEN; make a token that may write at {}/settings/tokens"


def upload_model(
    repo: str, files: Mapping[str, Path | bytes], *, message: str, private: bool = False
) -> str:
    """Puts files into a model repository, which is made where there is none, as one commit.

    What else is there stays.

    Args:
        repo: `org/name`.
        files: By their paths in the repository, where they are on this machine, or their content.
        message: Of the commit.
        private: Make the repository private; one that is there must be so.

    Returns:
        The address of the commit.

    Raises:
        RunError: There is no token, the hub refuses it, the repository is public where it should
            not be, or the hub is away. Nothing is published then.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    place = endpoint()
    if offline():
        raise RunError(
            f"TLTOOL_OFFLINE forbids asking {place}.", hint="unset TLTOOL_OFFLINE to push"
        )
    token = get_token()
    if token is None:
        raise RunError(f"There is no token for {place}.", hint=_LOGIN.format(place))
    api = HfApi(endpoint=place, token=token)
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise RunError(
                f"{repo} is there and is public, and --private was asked for.",
                hint="name another repository, or make this one private on its page first",
            )
        added = [
            CommitOperationAdd(
                path_in_repo=path, path_or_fileobj=at if isinstance(at, bytes) else str(at)
            )
            for path, at in files.items()
        ]
        return str(api.create_commit(repo, added, commit_message=message).commit_url)
    except RunError:
        raise
    except Exception as error:  # the client's library for HTTP, and what that raises, has changed
        raise _refused(error, repo, place) from error


def _status(error: BaseException | None) -> int | None:
    """The code of the answer that an error, or what it came from, is about."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__
    return None


def _refused(error: Exception, repo: str, place: str) -> RunError:
    status = _status(error)
    if status is None:
        return RunError(
            f"{repo} cannot be pushed to {place}: {type(error).__name__}: {first_line(error)}",
            hint="check the network; HF_ENDPOINT names a mirror",
        )
    if status == 401:
        return RunError(f"{place} does not know the token.", hint=_LOGIN.format(place))
    if status == 403:
        return RunError(
            f"The token may not write to {repo} on {place}.",
            hint="take a token with the right to write, or push to a name of your own: "
            "`hf auth whoami` says which you have",
        )
    if status == 404:
        return RunError(
            f"{place} finds no place for {repo}.", hint="check the spelling of the organisation"
        )
    return RunError(f"{place} answered {status}: {first_line(error)}", hint="try again later")
