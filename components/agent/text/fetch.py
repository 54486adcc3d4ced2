"""Gets the text encoder that a round names from where it lies: a folder of this machine, or a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from components.agent.round import Round
from components.agent.text.folder import FILES
from components.contracts.agent_config import PACKAGED
from components.contracts.errors import SkeletonAgentError
from components.runtime.store import is_remote, store_for

_FOLDER = "encoder"


@contextmanager
def encoder_at_hand(what: Round) -> Iterator[Round]:
    """Yield the round with its text encoder on this machine, for as long as the context lasts.

    Raises:
        InputError: the encoder's folder is not there.
    """
    place = what.stage.agent.encoder
    if place == PACKAGED or what.encoder is not None:
        yield what
        return
    if not is_remote(place):
        yield replace(what, encoder=Path(place))
        return
    with TemporaryDirectory(prefix="skeletonagent-encoder-") as scratch:
        try:
            yield replace(what, encoder=_fetched(place.rstrip("/"), Path(scratch)))
        except SkeletonAgentError as error:
            raise error.renamed({str(Path(scratch) / _FOLDER): place}) from None


def _fetched(place: str, scratch: Path) -> Path:
    """Copy what an encoder may consist of, file by file: a bucket knows no folders, and this one is no artifact."""
    folder, store = scratch / _FOLDER, store_for(place)
    for name in FILES:
        if store.exists(f"{place}/{name}"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            store.fetch(f"{place}/{name}", scratch).replace(folder / name)
    return folder
