"""The LoRA adapters that are served: names, versions, and copies that nobody else can change.

An adapter's files are copied before they are checked, and vLLM reads the copy: it may read them
again at any time, and dies when they are gone.
"""

import asyncio
import itertools
import logging
import re
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from services.generation import adapter_index
from services.generation.adapter_files import AdapterFiles, AdapterInvalid
from services.generation.adapter_index import Index, Record
from services.runtime.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
)

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


class AdapterNotFound(NotFound):
    """No adapter is served under this name."""

    reason = "ADAPTER_NOT_FOUND"


class AdaptersFull(ResourceExhausted):
    """As many adapters are served as may be."""

    reason = "ADAPTERS_FULL"


class AdaptersDisabled(FailedPrecondition):
    """This service was started without room for adapters."""

    reason = "ADAPTERS_DISABLED"


@dataclass(slots=True)
class Adapter:
    """One version of a served adapter."""

    name: str
    path: str
    """As it was asked for, relative to the adapter root."""
    version: int
    """Counts the loads of this name, from 1."""
    rank: int
    load_time: float
    """When this version began to serve, in seconds since the epoch."""
    directory: Path
    """The service's own copy."""
    engine_id: int
    """Its number in vLLM, at least 1; never used again in this process."""
    users: int = 0
    """Requests that run on it."""
    retired: bool = False
    """Whether it goes with its last user."""


Change = Callable[[Adapter], Awaitable[None]]
"""Tells the engine of an adapter."""


class Adapters:
    """Serves adapters under names; a name's new version replaces the old one for new requests.

    Args:
        base_model: Served name of the base model.
        files: Takes and checks their files.
        kept: Directory of the copies and of the index, which a restarted process reads.
        most: How many are served at once; 0: none can be.
        add: Has the engine read one.
        remove: Has the engine forget one.
    """

    def __init__(
        self,
        base_model: str,
        files: AdapterFiles,
        kept: Path,
        most: int,
        *,
        add: Change,
        remove: Change,
    ) -> None:
        self._base_model = base_model
        self._files = files
        self._kept = kept
        self._most = most
        self._add = add
        self._remove = remove
        self._served: dict[str, Adapter] = {}
        self._versions: dict[str, int] = {}
        self._unrestored: dict[str, Record] = {}
        """By name: not served, as this process could not; the next one may."""
        self._engine_ids = itertools.count(1)
        self._changing = asyncio.Lock()

    def served(self) -> list[Adapter]:
        """The adapters that new requests can name, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def find(self, name: str) -> Adapter | None:
        """The version that new requests get; None: not served."""
        return self._served.get(name)

    async def restore(self) -> None:
        """Serves again what an earlier process served of this base model.

        What cannot be served now, for a failure or other settings, keeps its record and files.
        """
        self._kept.mkdir(parents=True, exist_ok=True)
        index = adapter_index.read(self._kept)
        if index is None:
            return  # its copies stay where they are, for whoever mends it
        self._versions = dict(index.versions)
        for name, record in index.served.items():
            try:
                await self._restore(name, record)
            except Exception as error:
                self._unrestored[name] = record
                logger.error(
                    "adapter not restored",
                    extra={
                        "adapter": name,
                        "cause": str(error)
                        if isinstance(error, ServiceError)
                        else type(error).__qualname__,
                    },
                )
        known = {
            self._directory(name, self._versions[name])
            for name in (*self._served, *self._unrestored)
        }
        for directory in self._kept.iterdir():
            if directory.is_dir() and directory not in known:
                shutil.rmtree(directory)

    async def _restore(self, name: str, record: Record) -> None:
        if record.base_model != self._base_model:
            raise AdapterInvalid("the adapter was loaded for another base model")
        if len(self._served) >= self._most:
            raise AdaptersFull(f"at most {self._most} adapters are served")
        version = self._versions[name]
        directory = self._directory(name, version)
        rank = await asyncio.to_thread(self._files.check, directory)
        adapter = self._adapter(name, record.path, version, rank, directory)
        await self._add(adapter)
        self._served[name] = adapter

    async def load(self, name: str, path: str) -> Adapter:
        """Serves the adapter in a directory under a name.

        Raises:
            InvalidArgument: The name cannot be used, or the path leaves the adapter root.
            AdapterInvalid: The files do not fit the base model.
            AdaptersFull: Too many are served.
        """
        if not self._most:
            raise AdaptersDisabled("adapters are switched off (GENERATION_ENGINE__MAX_LORAS=0)")
        if not _NAME.fullmatch(name) or name == self._base_model:
            raise InvalidArgument(
                "name must be 1 to 128 characters of [A-Za-z0-9._-], not the base model's name",
                field="name",
            )
        async with self._changing:
            if name not in self._served and len(self._served) >= self._most:
                raise AdaptersFull(
                    f"{self._most} adapters are served, which is the most; unload one",
                    max_adapters_count=self._most,
                )
            version = self._versions.get(name, 0) + 1
            directory = self._directory(name, version)
            # Of its own: the thread of a cancelled load may still be writing to another.
            partial = self._kept / f"partial-{uuid.uuid4().hex}"
            try:
                rank = await asyncio.to_thread(self._files.take, path, partial)
                shutil.rmtree(directory, ignore_errors=True)
                partial.replace(directory)
                adapter = self._adapter(name, path, version, rank, directory)
                await self._add(adapter)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                shutil.rmtree(directory, ignore_errors=True)
                raise
            replaced = self._served.get(name)
            self._served[name] = adapter
            self._versions[name] = version
            self._discard_unrestored(name, version - 1)
            self._save()
            if replaced is not None:
                await self._retire(replaced)
        logger.info("adapter loaded", extra={"adapter": name, "version": version})
        return adapter

    async def unload(self, name: str) -> None:
        """Stops serving an adapter; requests that run on it end on it.

        Raises:
            AdapterNotFound: None is served under this name.
        """
        async with self._changing:
            adapter = self._served.pop(name, None)
            if adapter is None and self._discard_unrestored(name, self._versions.get(name, 0)):
                self._save()
                return
            if adapter is None:
                raise AdapterNotFound(
                    "no adapter is served under this name",
                    resource_type="adapter",
                    resource_name=name,
                )
            self._save()
            await self._retire(adapter)
        logger.info("adapter unloaded", extra={"adapter": name, "version": adapter.version})

    async def release(self, adapter: Adapter) -> None:
        """Ends one request's use of an adapter, begun by adding to its `users`."""
        adapter.users -= 1
        if adapter.retired and not adapter.users:
            await self._forget(adapter)

    async def _retire(self, adapter: Adapter) -> None:
        adapter.retired = True
        if not adapter.users:
            await self._forget(adapter)

    async def _forget(self, adapter: Adapter) -> None:
        await self._remove(adapter)
        shutil.rmtree(adapter.directory)

    def _adapter(self, name: str, path: str, version: int, rank: int, directory: Path) -> Adapter:
        return Adapter(name, path, version, rank, time.time(), directory, next(self._engine_ids))

    def _directory(self, name: str, version: int) -> Path:
        return self._kept / f"{name}@{version}"  # the sign keeps a name such as `..` harmless

    def _discard_unrestored(self, name: str, version: int) -> bool:
        """Gives up what could not be restored under a name; False: there is nothing."""
        if self._unrestored.pop(name, None) is None:
            return False
        shutil.rmtree(self._directory(name, version), ignore_errors=True)
        return True

    def _save(self) -> None:
        served = {adapter.name: Record(adapter.path, self._base_model) for adapter in self.served()}
        adapter_index.write(self._kept, Index(self._versions, self._unrestored | served))
