"""Errors, grouped by recovery: Fatal or Retryable; a bad record is never one of these."""

from clip_scoring.display import redacted


class ClipScoringError(Exception):
    """Anything this package raises on purpose; its text is one line with the thing and the fix.

    Addresses in the text lose their secrets at once: it ends in logs, messages, XComs and on
    pages. For the same reason it names shards, rows and counts, never a key or a caption.
    """

    def __init__(self, text: str) -> None:
        super().__init__(redacted(text))


class Fatal(ClipScoringError):
    """Trying again changes nothing: somebody has to repair the configuration, schema or input."""


class Retryable(ClipScoringError):
    """Trying again may work: the database was away, or somebody else holds the shard."""


class SettingsInvalid(Fatal):
    """Settings, registrations or parameters that cannot be used; a line for each, where several."""


class NotPermitted(SettingsInvalid):
    """The database login lacks a right."""


class SchemaMismatch(Fatal):
    """The database schema is not the one that this version writes."""


class WeightsInvalid(Fatal):
    """Weights that are missing, unsafe or of another architecture."""


class SelfTestFailed(Fatal):
    """This worker does not compute what its weights stand for."""


class ObjectUnreadable(Fatal):
    """A file of a source that cannot be parsed at all, or may not be read."""


class ObjectChanged(Fatal):
    """A file of a source is not the one that was planned any more; the next run plans it again."""


class RunNotFound(Fatal):
    """No run was planned under this run key."""


class RunFailed(Fatal):
    """The run is over and must not count as done; the text names the figure."""


class DatabaseUnreachable(Retryable):
    """No connection to the database, or it was lost."""


class DatabaseBusy(Retryable):
    """The database rolled the transaction back: a deadlock, a lock or a statement took too long."""


class ObjectStoreUnavailable(Retryable):
    """The object store did not answer, or asked to slow down, more often than we retry."""


class WeightsUnreachable(Retryable):
    """The hub did not answer, or not for now; the weights are not in the local cache."""


class WeightsChanged(Retryable):
    """A file of the weights is not the one that was hashed any more: somebody replaces it."""


class DecoderBroken(Retryable):
    """Decoder processes end before they have seen an image: no memory, or a bad installation."""


class DeviceLost(Retryable):
    """The GPU's context is dead: only a new process can use the device again."""


class ShardLost(Retryable):
    """Another worker has claimed this shard since; whoever sees this has written nothing."""


class JournalBusy(Retryable):
    """Another process has the journal of this output open."""


class Interrupted(Retryable):
    """The worker was asked to stop; everything committed so far stands."""
