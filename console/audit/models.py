"""The chain, what its entries say, its head, and the signed checkpoints over it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from console.audit import chain


class Entry(models.Model):
    """One link of the chain. Written once; the database refuses to change or delete it (`guards`)."""

    sequence = models.BigIntegerField(_("sequence"), primary_key=True)
    recorded_at = models.DateTimeField(_("time"))
    type = models.CharField(_("type"), max_length=64)
    actor = models.CharField(_("actor"), max_length=64, help_text=_("Pseudonym of a person, or name of a process."))
    previous_hash = models.BinaryField(max_length=32)
    commitment = models.BinaryField(max_length=32)
    entry_hash = models.BinaryField(max_length=32)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering: ClassVar = ["-sequence"]
        default_permissions = ("view",)
        permissions = (("export_entry", "Can export the audit log"),)
        indexes: ClassVar = [
            models.Index(fields=["type", "-sequence"], name="audit_entry_by_type"),
            models.Index(fields=["actor", "-sequence"], name="audit_entry_by_actor"),
            models.Index(fields=["recorded_at"], name="audit_entry_by_time"),
        ]
        constraints: ClassVar = [models.CheckConstraint(condition=Q(sequence__gte=1), name="audit_starts_at_one")]

    def __str__(self) -> str:
        return f"{self.sequence} {self.type}"


class Payload(models.Model):
    """What an entry says, and the salt of its commitment. May be erased; the chain stays whole without it."""

    # No constraint in the database: each row is written beside its entry, and 5,000 look-ups a second buy nothing.
    entry = models.OneToOneField(
        Entry, on_delete=models.DO_NOTHING, primary_key=True, related_name="payload", db_constraint=False
    )
    salt = models.BinaryField(max_length=32)
    text = models.TextField(help_text="Canonical JSON, exactly as committed to.")
    # What `about` says, for the indexes alone: nothing is hashed over these two, and the verifier compares them.
    subject_type = models.CharField(_("about"), max_length=40)
    subject_id = models.CharField(_("id"), max_length=64)

    class Meta:
        default_permissions = ()
        indexes: ClassVar = [
            models.Index(fields=["subject_id", "subject_type"], name="audit_payload_by_subject"),
            # Nearly all entries are about predictions, and whoever asks for those walks the chain itself.
            models.Index(
                fields=["subject_type", "-entry"], condition=~Q(subject_type="prediction"), name="audit_payload_by_kind"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject_type} {self.subject_id}"

    @property
    def about(self) -> tuple[str, str]:
        """Type and id of what the entry was written about, as committed to; empty where the text was spoilt."""
        return chain.about_of(self.text) or ("", "")


class Head(models.Model):
    """The last link: one row, whose lock is the one sequencer of all writers."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sequence = models.BigIntegerField(default=0)
    entry_hash = models.BinaryField(max_length=32)

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="audit_has_one_head")]

    def __str__(self) -> str:
        return str(self.sequence)


class Checkpoint(models.Model):
    """A signed statement about the first `size` entries, as it was published. Written once."""

    size = models.BigIntegerField(_("entries"), primary_key=True)
    created_at = models.DateTimeField(_("signed"))
    note = models.TextField(_("signed text"))
    frontier = models.BinaryField(help_text="The complete subtrees at this size: where a later check can start.")

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        ordering: ClassVar = ["-size"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.size)
