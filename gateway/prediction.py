"""One prediction, from the photographs to the answer that is already on disk."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import structlog

from gateway import errors
from gateway.admission.shedding import Place
from gateway.answer import (
    ALL_VIEWS,
    CLASS_LEVEL,
    Conclusion,
    Heat,
    Remark,
    Timing,
    ViewAnswer,
    committed,
    conclude,
    nearest_of,
    response_of,
)
from gateway.ask import Ask, AskedView
from gateway.background import Background
from gateway.deadline import Deadline
from gateway.failures import Failures
from gateway.fusion import ViewOutput, fuse
from gateway.gathering import all_of
from gateway.identity import uuid7
from gateway.intake.decoders import Decoders
from gateway.intake.formats import Header
from gateway.intake.photo import Intake, Photo
from gateway.intake.quality import judge, share
from gateway.journal.errors import JournalError, JournalFull
from gateway.journal.journal import Journal
from gateway.pace import Pace
from gateway.policy import PolicyKeeper
from gateway.record import NEAREST_RECORDED, Circumstances, lasting, prediction_event, replay_of, shadow_event
from gateway.replays import ON_ITS_WAY, Replays, place_of
from gateway.routing.router import Destination, WhyNotReady, destination, model_for
from gateway.routing.shadow import LOOK_S_MAX, Look, ShadowAnswer, Shadows
from gateway.sealing import Sealed, seal
from gateway.serving.torchserve import Backend, Extras, GraphImage, HandlerSteps, Neighbour
from gateway.snapshot import Client, ServedVersion, Snapshot
from gateway.tracing import NO_TRACE, Trace
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words

_log = structlog.get_logger(__name__)
# Kept back from the call's deadline for making the answer durable: at least, and at most of what is left. Between them
# it is what the disk takes these days.
_COMMIT_S_MIN: Final = 0.02
_COMMIT_SHARE_MAX: Final = 0.25
# Of one event: a record of the journal has room for 16 MiB.
_SEALED_BYTES_MAX: Final = 14 * 2**20
_DIGEST_INLINE_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """What one version's graph says about the photographs of a request."""

    conclusion: Conclusion
    heats: tuple[Heat, ...]  # empty where they were not asked for
    neighbours: tuple[tuple[Neighbour, ...], ...]  # of each view, nearest first
    projections: tuple[tuple[float, ...], ...]  # of each view's embedding; empty ones where the handler knows none
    inference_s: float
    steps: HandlerSteps | None  # of the handler


class Predictor:
    """The story of the product. Everything it needs is handed in; it keeps nothing but its pace."""

    def __init__(
        self,
        *,
        gateway_id: str,
        policy: PolicyKeeper,
        intake: Intake,
        decoders: Decoders,
        backend: Backend,
        why_not_ready: WhyNotReady,
        journal: Journal,
        background: Background,
        replays: Replays,
        shadows: Shadows,
        failures: Failures,
    ) -> None:
        self._gateway_id = gateway_id
        self._policy = policy
        self._intake = intake
        self._decoders = decoders
        self._backend = backend
        self._why_not_ready = why_not_ready
        self._journal = journal
        self._background = background
        self._replays = replays
        self._shadows = shadows
        self._failures = failures
        self._run_paces: defaultdict[tuple[str, str], Pace] = defaultdict(Pace)  # by model and version: they differ
        self._overlay_pace = Pace()
        self._commit_pace = Pace()

    async def predict(
        self, ask: Ask, client: Client, *, place: Place, deadline: Deadline, language: str, trace: Trace = NO_TRACE
    ) -> pb.PredictResponse:
        """Answer once it is durable. Raises a Refusal; then nothing was recorded, unless time ran out at the disk.

        With an idempotency key the work goes on to its end when the caller leaves or the time runs out
        at the disk, so that its second call finds the answer of the first; it keeps the call's place until then.
        """
        if not ask.idempotency_key:
            return await self._predict(ask, client, deadline, language, trace)
        async with deadline.last.while_(ON_ITS_WAY):
            # Bound to no name: an error in it leads back to this frame, and the photographs would stay with both.
            return await asyncio.shield(
                place.until(self._background.start(self._predict_once(ask, client, deadline, language, trace)))
            )

    async def _predict_once(
        self, ask: Ask, client: Client, deadline: Deadline, language: str, trace: Trace
    ) -> pb.PredictResponse:
        digest = await digest_of(ask)

        async def work() -> bytes:
            return (await self._predict(ask, client, deadline, language, trace, digest)).SerializeToString()

        content, before = await self._replays.once(
            client.client_id, ask.idempotency_key, digest, work, deadline=deadline, lasting=lasting
        )
        response = pb.PredictResponse.FromString(content)
        response.replayed = before
        response.request_id = ask.request_id
        return response

    async def _predict(
        self, ask: Ask, client: Client, deadline: Deadline, language: str, trace: Trace, digest: bytes = b""
    ) -> pb.PredictResponse:
        """digest: of the request, where it came under an idempotency key."""
        with self._shadows.answering():
            return await self._answer(ask, client, deadline, language, trace, digest)

    async def _answer(
        self, ask: Ask, client: Client, deadline: Deadline, language: str, trace: Trace, digest: bytes
    ) -> pb.PredictResponse:
        began_s = time.monotonic()
        snapshot = self._policy.current
        headers = self._headers(ask.views)
        model = model_for(snapshot, client, ask.model)
        prediction_id = uuid7()
        going = destination(
            model,
            version=ask.version,
            sticky_key=ask.sticky_key(prediction_id),
            why_not_ready=self._why_not_ready,
            rather=ask.rather,
        )
        target = _target_of(ask, going.version)
        check_level(ask.level, going.version)
        work = deadline.sooner(self._commit_s_reserved(deadline))
        async with work.while_("opening the photographs"):
            photos = await self._open(ask.views, headers, going.version.size_px)
        decoded_s = time.monotonic()
        explaining = work.left_s > self._run_pace(going.version).expected_s
        with self._failures.of(going.version, drawn=going.drawn):
            seen = await self._look(
                ask,
                photos,
                going.version,
                target=target,
                heat_map=explaining,
                neighbours=max(ask.nearest_examples, NEAREST_RECORDED),
                deadline=work,
            )
        heats, too_late = await self._explain(ask, seen, work)
        sealed = await self._seal(ask, snapshot, seen.conclusion, prediction_id, work)
        will_be_reviewed = _wants_review(seen.conclusion, snapshot, prediction_id)
        response = response_of(
            seen.conclusion,
            prediction_id=prediction_id,
            request_id=ask.request_id,
            top_k=ask.top_k,
            heats=heats,
            examples=nearest_of(seen.neighbours, ask.nearest_examples),
            remarks=[Remark(words.REASON_NO_TIME_TO_EXPLAIN, ALL_VIEWS)] if too_late else [],
            will_be_reviewed=will_be_reviewed,
            timing=Timing(time.monotonic() - began_s, decoded_s - began_s, seen.inference_s, 0.0),
            audit_checkpoint=snapshot.audit_checkpoint,
            language=language,
        )
        event = prediction_event(
            ask,
            seen.conclusion,
            Circumstances(
                prediction_id=prediction_id,
                gateway_id=self._gateway_id,
                client=client,
                snapshot=snapshot,
                version_drawn=going.drawn,
                total_s=time.monotonic() - began_s,
                inference_s=seen.inference_s,
                wants_review=will_be_reviewed,
                traceparent=trace.traceparent,
            ),
            heats=[heat for heat in seen.heats if heat.class_index == seen.conclusion.best_index],
            photos=sealed,
            nearest=nearest_of(seen.neighbours, NEAREST_RECORDED),
            projections=seen.projections,
            replay=replay_of(response, place_of(client.client_id, ask.idempotency_key), digest) if digest else None,
        )
        committing_s = time.monotonic()
        with self._commit_pace.measured():
            await self._commit(event, ask, client, deadline, digest)
        now_s = time.monotonic()
        committed(response, total_s=now_s - began_s, journal_s=now_s - committing_s)
        trace.answered(response, seen.steps)
        self._follow(going, ask, photos, prediction_id)
        return response

    async def _commit(self, event: bytes, ask: Ask, client: Client, deadline: Deadline, digest: bytes) -> None:
        """Raises as `make_durable` does; where no second call will look for the answer, also when its time runs out."""
        if digest:  # nothing calls a record back from the disk, and the second call has to find it
            await self._replays.about_to_record(client.client_id, ask.idempotency_key, digest)
            await self.make_durable(event)
        else:
            async with deadline.last.while_("making the answer durable"):
                await self.make_durable(event)

    def _commit_s_reserved(self, deadline: Deadline) -> float:
        return max(_COMMIT_S_MIN, min(self._commit_pace.expected_s, _COMMIT_SHARE_MAX * deadline.left_s))

    async def make_durable(self, event: bytes) -> None:
        """Raises JournalUnavailable or Overloaded: then no answer may leave."""
        try:
            await self._journal.append(event)
        except JournalFull as error:
            raise errors.Overloaded("too many answers wait for the disk") from error
        except JournalError as error:
            raise errors.JournalUnavailable("answers cannot be made durable at the moment") from error

    def _headers(self, views: Sequence[AskedView]) -> list[Header]:
        """What is wrong with the input is said first, whatever else is wrong here; costs microseconds a view."""
        headers = []
        for index, view in enumerate(views):
            with _blaming(index):
                headers.append(self._intake.check(view.photo, view.raw_px))
        return headers

    async def _open(
        self, views: Sequence[AskedView], headers: Sequence[Header], size_px: tuple[int, int]
    ) -> list[Photo]:
        """All views at once. Raises the refusal of the first view that was refused, and names it."""

        async def one(index: int) -> Photo:
            with _blaming(index):
                return await self._intake.open(views[index].photo, headers[index], size_px=size_px)

        return await all_of(one(index) for index in range(len(views)))

    async def _look(
        self,
        ask: Ask,
        photos: Sequence[Photo],
        version: ServedVersion,
        *,
        target: int,
        heat_map: bool,
        neighbours: int,
        deadline: Deadline,
    ) -> Seen:
        """Run one version's graph over the photographs and conclude."""
        began_s = time.monotonic()
        method = ask.explanation.method if ask.explanation else pb.Explain.METHOD_GRAD_CAM
        async with deadline.while_("the model was answering"):
            result = await self._backend.predict(
                version.backend_name,
                version.version,
                [GraphImage(pixels=photo.pixels, target=target) for photo in photos],
                extras=Extras(
                    heat_map=heat_map,
                    plus_plus=heat_map and method == pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS,
                    neighbours=neighbours,
                    projection=True,
                ),
                deadline_s=deadline.left_s,
            )
        inference_s = time.monotonic() - began_s
        self._run_pace(version).add(inference_s)
        outputs = [
            ViewOutput(np.asarray(output.probabilities, dtype=np.float64), output.scores) for output in result.outputs
        ]
        shortcomings = [judge(photo.quality, source_px=photo.source_px, size_px=version.size_px) for photo in photos]
        fused = fuse(outputs, [share(short) for short in shortcomings])
        views = [
            ViewAnswer(photo, view.side, short, ratio, output.probabilities)
            for photo, view, short, ratio, output in zip(
                photos, ask.views, shortcomings, fused.shares, outputs, strict=True
            )
        ]
        conclusion = conclude(version, fused, views, level=ask.level)
        heats = tuple(
            Heat(method, index, int(outputs[index].probabilities.argmax()) if target < 0 else target, output.heat_map)
            for index, output in enumerate(result.outputs)
            if output.heat_map is not None
        )
        neighbours_of = tuple(output.neighbours for output in result.outputs)
        projections = tuple(output.projection for output in result.outputs)
        return Seen(conclusion, heats, neighbours_of, projections, inference_s, result.steps)

    def _run_pace(self, version: ServedVersion) -> Pace:
        return self._run_paces[version.model, version.version]

    def _follow(self, going: Destination, ask: Ask, photos: Sequence[Photo], prediction_id: str) -> None:
        """Let the shadows look at what was just answered."""
        for shadow in going.shadows:
            self._shadows.follow(
                shadow,
                self._looking_aside(ask, photos, shadow, going.version),
                lambda said: self._journal.append(
                    shadow_event(said, prediction_id=prediction_id, gateway_id=self._gateway_id)
                ),
            )

    def _looking_aside(
        self, ask: Ask, photos: Sequence[Photo], version: ServedVersion, answering: ServedVersion
    ) -> Look:
        """What a shadow does; photographs are opened again where it looks at another size than who answers."""
        again = () if version.size_px == answering.size_px else ask.views  # it may wait: what it holds is little
        blind = replace(ask, views=tuple(replace(view, photo=b"") for view in ask.views))

        async def look() -> ShadowAnswer:
            deadline = Deadline(time.monotonic() + LOOK_S_MAX)
            seen_as = photos
            if again:
                async with deadline.while_("opening the photographs for a shadow"):
                    seen_as = await self._open(again, self._headers(again), version.size_px)
            seen = await self._look(blind, seen_as, version, target=-1, heat_map=False, neighbours=0, deadline=deadline)
            return ShadowAnswer(seen.conclusion, seen.inference_s)

        return look

    async def _explain(self, ask: Ask, seen: Seen, deadline: Deadline) -> tuple[list[Heat], bool]:
        """The heat maps that were asked for, and whether there was no time for all of them."""
        if ask.explanation is None:
            return [], False
        if not seen.heats:
            return [], True
        if not ask.explanation.overlay:
            return list(seen.heats), False
        if deadline.left_s < self._overlay_pace.expected_s:
            return list(seen.heats), True
        try:
            async with deadline.while_("drawing the heat map"):
                with self._overlay_pace.measured():
                    overlays = [
                        await self._decoders.overlay(seen.conclusion.views[heat.view].photo.pixels, heat.grid)
                        for heat in seen.heats
                    ]
        except errors.DeadlineExceeded:
            return list(seen.heats), True
        return [replace(heat, overlay_png=png) for heat, png in zip(seen.heats, overlays, strict=True)], False

    async def _seal(
        self, ask: Ask, snapshot: Snapshot, conclusion: Conclusion, prediction_id: str, deadline: Deadline
    ) -> list[Sealed | None]:
        recipient = snapshot.photo_seal_public_key
        if recipient is None or not ask.subject.may_keep_photo:
            return []
        async with deadline.while_("sealing the photographs"):
            pngs = [await self._decoders.png(view.photo.pixels) for view in conclusion.views]
        sealed: list[Sealed | None] = []
        room_bytes = _SEALED_BYTES_MAX
        for png in pngs:
            room_bytes -= len(png)
            fits = room_bytes >= 0  # only models of far more than 224 pixels come near it
            sealed.append(seal(png, recipient_public_key=recipient, prediction_id=prediction_id) if fits else None)
        return sealed


@contextmanager
def _blaming(index: int) -> Iterator[None]:
    """Name the view in a refusal of its photograph."""
    try:
        yield
    except errors.PhotoRefused as refusal:
        raise refusal.at(f"views[{index}].photo") from None


def _target_of(ask: Ask, version: ServedVersion) -> int:
    """The class to explain, as the graph counts; -1: the best one. Raises ClassNotFound, FieldInvalid."""
    if ask.explanation is None:
        return -1
    if ask.explanation.method not in version.explanations:
        raise errors.FieldInvalid(
            f"{version.version} cannot explain itself by {pb.Explain.Method.Name(ask.explanation.method)}",
            field="explain.method",
            wanted=f"use {' or '.join(sorted(map(pb.Explain.Method.Name, version.explanations)))}",
        )
    class_id = ask.explanation.class_id
    if not class_id:
        return -1
    index = version.class_index(class_id)
    if index is None:
        raise errors.ClassNotFound(
            f"{version.version} knows no class {class_id!r}", field="explain.class_id", wanted="its card lists them"
        )
    return index


def check_level(level: str, version: ServedVersion) -> None:
    """Raises FieldInvalid naming the levels that there are."""
    known = [CLASS_LEVEL, *(served.rule.id for served in version.levels)]
    if level and level not in known:
        raise errors.FieldInvalid(
            f"{version.version} has no level {level!r}",
            field="level",
            wanted=f"leave it empty, or use {', '.join(known)}",
        )


def _wants_review(conclusion: Conclusion, snapshot: Snapshot, prediction_id: str) -> bool:
    """A person looks at what is not sure, and at a sample of what is."""
    if conclusion.verdict != words.VERDICT_IN_DOMAIN:
        return True
    if float(conclusion.probabilities.max()) < snapshot.review_confidence_min:
        return True
    # The id is random: its hash is a fair draw, and the same one whoever asks again.
    draw = int.from_bytes(hashlib.blake2b(prediction_id.encode(), digest_size=8).digest()) / 2**64
    return draw < snapshot.review_sampling_ratio


async def digest_of(ask: Ask) -> bytes:
    """Of the whole request, without holding up the loop."""
    if sum(len(view.photo) for view in ask.views) > _DIGEST_INLINE_BYTES_MAX:
        return await asyncio.to_thread(ask.digest)  # hashing a megabyte takes the loop a millisecond
    return ask.digest()
