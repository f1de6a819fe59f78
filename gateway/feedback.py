"""What a caller learned later about a prediction: recorded durably, judged by the console."""

from __future__ import annotations

from typing import Final

from gateway import errors
from gateway.ask import TEXT_MAX
from gateway.identity import is_uuid7
from protos.amulet.v1 import prediction_pb2 as pb

COMMENT_MAX: Final = 2000


def check(request: pb.SubmitFeedbackRequest) -> None:
    """Raises FieldInvalid or PredictionNotFound, naming the field.

    Whether the prediction exists and is this client's is the console's to say: the gateway
    keeps no predictions. An id that no gateway can have given is refused here.
    """
    if not is_uuid7(request.prediction_id):
        raise errors.PredictionNotFound(
            f"no prediction can have the id {request.prediction_id[:TEXT_MAX]!r}",
            field="prediction_id",
            wanted="send the prediction_id of an answer",
        )
    if request.kind not in pb.SubmitFeedbackRequest.Kind.values() or not request.kind:
        raise errors.FieldInvalid(
            "the kind of feedback is not given",
            field="kind",
            wanted="use KIND_CONFIRMED, KIND_WRONG, KIND_NOT_OUR_KIND or KIND_COMPLAINT",
        )
    if len(request.comment) > COMMENT_MAX:
        raise errors.FieldInvalid(
            f"the comment has {len(request.comment):,} characters",
            field="comment",
            wanted=f"at most {COMMENT_MAX:,} are kept",
        )
    for field in ("true_class_id", "idempotency_key"):
        text = getattr(request, field)
        if len(text) > TEXT_MAX or not text.isprintable():
            raise errors.FieldInvalid(
                f"{field} is too long or holds characters that cannot be printed",
                field=field,
                wanted=f"at most {TEXT_MAX} printable characters are allowed",
            )


def digest_content(request: pb.SubmitFeedbackRequest) -> bytes:
    """What makes this feedback another feedback."""
    return request.SerializeToString(deterministic=True)
