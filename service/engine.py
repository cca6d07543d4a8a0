"""One worker's tagger: loaded in the background, called in threads, single texts never queued behind batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread

from models.artifact import ArtifactError
from service.logs import describe_exception, get_logger
from service.problems import ProblemError, problem
from triage.configuration import ConfigurationError
from triage.taxonomy import Taxonomy

if TYPE_CHECKING:
    from triage.tagging import Tagger

PROBE = "孩子所在学校收取补课费，没有公示，请核查。"
RETRY_SECONDS = "2"
# Errors whose message is written for the administrator and knows nothing of any complaint.
_EXPLAINED = (ArtifactError, ConfigurationError, OSError)

State = Literal["loading", "ready", "failed"]
T = TypeVar("T")


class Lane:
    """One thread and a queue of bounded length before it."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._thread = anyio.CapacityLimiter(1)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue. Raises ProblemError (503) when there is none."""
        if self._taken >= self._places:
            raise ProblemError(problem("busy"), {"Retry-After": RETRY_SECONDS})
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, once it is its turn in the thread."""
        return await anyio.to_thread.run_sync(work, limiter=self._thread)


class Engine:
    """The tagger with its state; ``single`` and ``batch`` are the two lanes on which to call it, while running."""

    single: Lane
    batch: Lane

    def __init__(self, load: Callable[[], Tagger], taxonomy: Taxonomy, places: int, batch_places: int) -> None:
        self._load = load
        self._taxonomy = taxonomy
        self._places = (places, batch_places)
        self._tagger: Tagger | None = None
        self.state: State = "loading"
        self.reason = ""

    @property
    def tagger(self) -> Tagger:
        """The tagger, once ready. Raises ProblemError (503) before that, with the reason after a failure."""
        if self._tagger is not None:
            return self._tagger
        if self.state == "failed":
            detail = f"模型载入失败：{self.reason}；请管理员按此修复后重启服务。"
            raise ProblemError(problem("not-ready", detail))
        raise ProblemError(problem("not-ready"), {"Retry-After": RETRY_SECONDS})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the tagger in the background for as long as the context lasts."""
        # Lanes belong to the event loop that runs now.
        self.single, self.batch = (Lane(places) for places in self._places)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._become_ready)
            yield
            tasks.cancel_scope.cancel()

    async def _become_ready(self) -> None:
        log = get_logger()
        try:
            tagger = await anyio.to_thread.run_sync(self._load_and_probe, abandon_on_cancel=True)
        except Exception as error:
            explained = isinstance(error, _EXPLAINED)
            self.reason = str(error) if explained else f"{type(error).__name__}（详见日志）"
            self.state = "failed"
            # No complaint has been seen yet, so the whole message may go to the log.
            log.error("model_failed", reason=str(error), **describe_exception(error))
            return
        self._tagger = tagger
        self.state = "ready"
        log.info("model_ready", model=tagger.version)

    def _load_and_probe(self) -> Tagger:
        tagger = self._load()
        known = set(self._taxonomy.topic_codes)
        unknown = [code for code in tagger.taxonomy.topic_codes if code not in known]
        if unknown:
            raise ConfigurationError(
                f"topics: {', '.join(unknown)} known to the model but not to the taxonomy; "
                "add them to the taxonomy file or choose a model trained with it"
            )
        tagger.tag(PROBE)
        return tagger
