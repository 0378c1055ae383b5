"""Models by name, their aliases and what these have pointed at. Each deed is one transaction with its row."""

from sqlite3 import Connection

from ..audit.chain import Caller
from ..errors import AgentError, Problem
from ..model.alias import (
    MAX_ALIASES,
    MAX_MODELS,
    MAX_MOVES,
    Alias,
    AliasHistory,
    Condition,
    NamedModel,
    NamedModelPage,
    name_taken,
    no_such_alias,
    no_such_model,
)
from ..model.base import now
from ..model.job import Job, check_not_removed, no_such_job
from ..model.readers import EVERYBODY, Readers
from . import audit
from .database import Tables, fitting, quick_read, transaction
from .pins import check_alias


class ModelStore(Tables):
    """Reads and writes models; `NamedModel` and `Alias` documents are stored as JSON."""

    @quick_read
    def get(self, db: Connection, model: str) -> NamedModel:
        """The model as last committed. Raises `AgentError` (model-not-found)."""
        return _get(db, model)

    @transaction
    def page(self, db: Connection, *, reader: str | None, before: int | None, limit: int) -> NamedModelPage:
        """Models that one user may read, or all, newest first; `before` is an earlier `next_cursor`."""
        rows = db.execute(
            "SELECT seq, document FROM models WHERE (:before IS NULL OR seq < :before)"
            " AND (:reader IS NULL OR owner = :reader"
            " OR name IN (SELECT model FROM model_readers WHERE reader IN (:reader, :everybody)))"
            " ORDER BY seq DESC LIMIT :limit",
            {"reader": reader, "everybody": EVERYBODY, "before": before, "limit": limit + 1},
        )
        found, more = fitting(rows, limit)
        models = [NamedModel.model_validate_json(document) for _, document in found]
        return NamedModelPage(models=models, next_cursor=str(found[-1][0]) if more else None)

    @transaction
    def history(self, db: Connection, model: str, alias: str) -> AliasHistory:
        """The moves of an alias that are known, the newest first. Raises `AgentError` (alias-not-found)."""
        rows = db.execute(
            "SELECT document FROM alias_moves WHERE model = ? AND alias = ? ORDER BY number DESC",
            (model, alias),
        ).fetchall()
        if not rows:
            raise no_such_alias()
        return AliasHistory(moves=[Alias.model_validate_json(document) for (document,) in rows])

    @transaction
    def move(
        self,
        db: Connection,
        owner: str,
        model: str,
        to: Alias,
        *,
        condition: Condition,
        size: int,
        max_bytes: int,
        by: Caller,
    ) -> Alias:
        """Points an alias of a model of `owner` at an artifact; makes whichever of the two is missing.

        Changes nothing where the alias points there already. `size` is what the job takes, in bytes, if it
        was not measured before. Raises `AgentError`: forbidden where another user has the model,
        precondition-failed, too-many-models, too-many-pinned, and job-not-found or removed-by-retention where
        retention was faster.
        """
        db.execute("BEGIN IMMEDIATE")
        known = _find(db, model)
        named = known or NamedModel(model=model, owner=owner, created_at=now(), revision=0)
        if named.owner != owner:
            raise name_taken()
        before = named.find(to.alias)
        if before is not None and before.same_artifact(to):
            return before
        condition.check(before.version if before else None)
        _check_bounds(db, named, new=before is None)
        _check_there(db, to.job_id)
        db.execute("UPDATE jobs SET bytes = coalesce(bytes, ?) WHERE id = ?", (size, to.job_id))
        check_alias(db, owner, model=model, alias=to.alias, job_id=to.job_id, max_bytes=max_bytes)
        moved = to.model_copy(update={"number": before.number + 1 if before else 1})
        others = [each for each in named.aliases if each.alias != to.alias]
        aliases = sorted([*others, moved], key=lambda each: each.alias)
        _write(db, named.model_copy(update={"aliases": aliases}), new=known is None)
        _record(db, model, moved)
        _release(db, before)
        deed = by.did("setAlias", f"{model}/{to.alias}", owner=owner, job_id=to.job_id, path=to.path)
        said = {"sha256": to.sha256, "version": to.version, "before": before.version if before else ""}
        audit.append_row(db, deed.model_copy(update={"details": deed.details | said}))
        return moved

    @transaction
    def remove(self, db: Connection, model: str, alias: str, *, condition: Condition, by: Caller) -> Alias:
        """Removes an alias with its history, and with its last alias the model. Returns what it was.

        Raises `AgentError`: model-not-found, alias-not-found, precondition-failed.
        """
        db.execute("BEGIN IMMEDIATE")
        named = _get(db, model)
        if (before := named.find(alias)) is None:
            raise no_such_alias()
        condition.check(before.version)
        db.execute("DELETE FROM aliases WHERE model = ? AND alias = ?", (model, alias))
        left = [each for each in named.aliases if each.alias != alias]
        if left:
            _write(db, named.model_copy(update={"aliases": left}))
        else:
            db.execute("DELETE FROM models WHERE name = ?", (model,))
        _release(db, before)
        deed = by.did("removeAlias", f"{model}/{alias}", owner=named.owner, job_id=before.job_id)
        audit.append_row(db, deed)
        return before

    @transaction
    def set_readers(self, db: Connection, model: str, readers: Readers, *, by: Caller) -> NamedModel:
        """Lets these users read the model, and nobody else. Raises `AgentError` (model-not-found)."""
        db.execute("BEGIN IMMEDIATE")
        named = _get(db, model)
        if named.readers.names == readers.names:
            return named
        db.execute("DELETE FROM model_readers WHERE model = ?", (model,))
        db.executemany("INSERT INTO model_readers VALUES (?, ?)", [(model, each) for each in readers.names])
        audit.append_row(db, by.did("setModelReaders", model, owner=named.owner, readers=readers.names))
        return _write(db, named.model_copy(update={"readers": readers}))


def _find(db: Connection, model: str) -> NamedModel | None:
    row = db.execute("SELECT document FROM models WHERE name = ?", (model,)).fetchone()
    return NamedModel.model_validate_json(row[0]) if row else None


def _get(db: Connection, model: str) -> NamedModel:
    if (found := _find(db, model)) is None:
        raise no_such_model()
    return found


def _write(db: Connection, named: NamedModel, *, new: bool = False) -> NamedModel:
    """Writes the next revision."""
    named = named.model_copy(update={"revision": named.revision + 1})
    document = named.model_dump_json(exclude_none=True)
    if new:
        db.execute(
            "INSERT INTO models (name, owner, document) VALUES (?, ?, ?)",
            (named.model, named.owner, document),
        )
    else:
        db.execute("UPDATE models SET document = ? WHERE name = ?", (document, named.model))
    return named


def _record(db: Connection, model: str, moved: Alias) -> None:
    """Adds a move to the history, of which the oldest goes that is too much."""
    db.execute(
        "INSERT INTO aliases VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET job_id = excluded.job_id",
        (model, moved.alias, moved.job_id),
    )
    db.execute(
        "INSERT INTO alias_moves VALUES (?, ?, ?, ?)",
        (model, moved.alias, moved.number, moved.model_dump_json()),
    )
    db.execute(
        "DELETE FROM alias_moves WHERE model = ? AND alias = ? AND number <= ?",
        (model, moved.alias, moved.number - MAX_MOVES),
    )


def _release(db: Connection, before: Alias | None) -> None:
    """The age of a job that no alias points at any more begins anew: there is time to move the alias back."""
    if before is not None:
        db.execute(
            "UPDATE jobs SET ages_from = NULL, files = NULL WHERE id = ?"
            " AND NOT EXISTS (SELECT 1 FROM aliases WHERE job_id = id)",
            (before.job_id,),
        )


def _check_bounds(db: Connection, named: NamedModel, *, new: bool) -> None:
    """Raises `AgentError` (too-many-models) where the owner, or the model, may have no more."""
    if new and len(named.aliases) >= MAX_ALIASES:
        message = f"The model has {MAX_ALIASES} aliases, as many as it may have."
        raise AgentError(Problem.TOO_MANY_MODELS, message, "Move one of them, or remove one.")
    if named.aliases:
        return
    (count,) = db.execute("SELECT count(*) FROM models WHERE owner = ?", (named.owner,)).fetchone()
    if count >= MAX_MODELS:
        raise AgentError(
            Problem.TOO_MANY_MODELS,
            f"{named.owner} has {count} models, as many as a user may have.",
            "Remove the aliases of one that is no longer needed.",
        )


def _check_there(db: Connection, job_id: str) -> None:
    """Raises `AgentError` where retention has removed the job, or its files, since the artifact was read."""
    row = db.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise no_such_job()
    check_not_removed(Job.model_validate_json(row[0]))
