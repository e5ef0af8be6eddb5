"""The middle of a comparison: which record at the destination each candidate resolves to.

`recall` adds what the ledger knows, a `Search` adds the answers of look-ups, and `assign_owners` adds which other entities
of ours own the records. `resolve` refuses candidates that do not resolve to exactly one record.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.types import Found, Lookup, Match, Outcome, Status
from heatsync.ledger import PlanCounts
from heatsync.sync.compare.candidates import Candidates
from heatsync.sync.compare.relations import Relations, text_sql
from heatsync.sync.compare.types import Owners, Presence, Refusal, Shape

KnownRow = Sequence[Any]
"""What the ledger knows of a record: (entity, remote_id, match_value, version, fields as JSON, via)."""


@dataclass(frozen=True, slots=True)
class Known:
    """Candidates, and what the ledger knows of them.

    Tables: those of the candidates, `known` (entity, remote_id, match_value, version, fields, via), `levels` (entity,
    level at the last write).
    """

    relations: Relations
    shape: Shape
    counts: PlanCounts

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.relations.count("candidate")

    def lookups(self) -> Iterator[list[Lookup]]:
        """Candidates of which the remote id or a current value is not known."""
        names = "[" + ", ".join(text_sql(c.name) for c in self.shape.columns) + "]"
        matches = "".join(f", m{i}" for i in range(len(self.shape.match)))
        query = (
            f"SELECT key, CASE WHEN NOT disputed THEN remote_id END{matches}"
            " FROM candidate c LEFT JOIN known k ON c.key = k.entity"
            f" WHERE k.remote_id IS NULL OR disputed OR NOT list_has_all(json_keys(k.fields), {names}::VARCHAR[])"
            " ORDER BY key"
        )
        for rows in self.relations.rows(query):
            yield [Lookup(row[0], match_values(self.shape, row[2:]), row[1]) for row in rows]

    def unresolved(self) -> "Resolved":
        """The candidates as the ledger knows them, where the destination is not asked."""
        self.relations.declare("recent", "key VARCHAR")
        self.relations.declare("unfound", "key VARCHAR, remote_ids VARCHAR[], key_digest BIGINT")
        return Resolved(self.relations, self.shape, self.counts)


class Search:
    """What looking the candidates up answered, chunk by chunk. `create`: a candidate that is not found is created."""

    def __init__(self, known: Known, create: bool) -> None:
        self._known = known
        self._create = create
        self._counts = known.counts
        known.relations.declare("missing", "entity VARCHAR, remote_ids VARCHAR[]")

    def add(self, answers: Sequence[Found], rows: Sequence[KnownRow]) -> None:
        """Take answers in. `rows` are what is known now of those matched by exactly one record."""
        relations = self._known.relations
        missing = [(answer.key, list(answer.remote_ids)) for answer in answers if len(answer.remote_ids) != 1]
        relations.fill("missing", [missing])
        relations.declare("outdated", "key VARCHAR")
        relations.fill("outdated", [[(key,) for key, _ in missing], [(row[0],) for row in rows]])
        relations.remove("known", "entity", "SELECT key FROM outdated")
        relations.drop("outdated")
        relations.fill("known", [rows])
        ambiguous = sum(len(remote_ids) > 1 for _, remote_ids in missing)
        unmatched = 0 if self._create else len(missing) - ambiguous
        self._counts = replace(
            self._counts,
            matched=self._counts.matched + len(answers) - len(missing),
            ambiguous=self._counts.ambiguous + ambiguous,
            unmatched=self._counts.unmatched + unmatched,
        )

    def located(self) -> "Located":
        """The candidates with the answers so far."""
        return Located(self._known.relations, self._known.shape, self._counts, self._create)


@dataclass(frozen=True, slots=True)
class Located:
    """Candidates, each with its record as far as it is known now.

    Tables: those of `Known`, and `missing` (entity, remote_ids): candidates that match no record or several.
    """

    relations: Relations
    shape: Shape
    counts: PlanCounts
    create: bool

    def remote_ids(self) -> Iterator[list[str]]:
        """The remote ids of the candidates."""
        query = (
            "SELECT DISTINCT k.remote_id FROM candidate c JOIN known k ON c.key = k.entity"
            " WHERE k.remote_id IS NOT NULL ORDER BY k.remote_id"
        )
        for rows in self.relations.rows(query):
            yield [remote_id for (remote_id,) in rows]

    def presence(self, keys: Iterable[str]) -> dict[str, Presence]:
        """Those of our ids that are in the desired relation with a key, and what happens to them."""
        self.relations.declare("asked", "key VARCHAR")
        self.relations.fill("asked", [[(key,) for key in keys]])
        found = self.relations.all(
            f"SELECT key, '{Presence.PENDING}' FROM asked SEMI JOIN candidate USING (key) UNION ALL"
            f" SELECT key, '{Presence.UNTOUCHED}' FROM asked SEMI JOIN untouched USING (key)"
        )
        self.relations.drop("asked")
        return {str(key): Presence(how) for key, how in found}

    def assign_owners(self, owners: Iterable[Owners]) -> "Owned":
        """Add which other entities of ours own the candidates' records. A candidate that shares its record with another
        entity is refused."""
        relations = self.relations
        relations.declare("owner", "remote_id VARCHAR, key VARCHAR")
        for some in owners:
            relations.fill("owner", [some.owned])
            relations.execute(
                "UPDATE known SET remote_id = NULL, fields = '{}' WHERE list_contains(?, entity)",
                [list(some.released)],
            )
        relations.create(
            "clashing",
            "WITH claims AS ("
            "SELECT c.key, k.remote_id FROM candidate c JOIN known k ON c.key = k.entity WHERE k.remote_id IS NOT NULL"
            " UNION SELECT key, remote_id FROM owner), several AS (SELECT remote_id, min(key) AS one, max(key) AS other"
            " FROM claims GROUP BY remote_id HAVING count(*) > 1) SELECT c.key, remote_id, c.key_digest,"
            " CASE WHEN s.one = c.key THEN s.other ELSE s.one END AS other"
            " FROM candidate c JOIN claims USING (key) JOIN several s USING (remote_id)",
        )
        relations.remove("candidate", "key", "SELECT key FROM clashing")
        relations.drop("owner")
        refused = self.counts.refused + relations.count("clashing")
        return Owned(relations, self.shape, replace(self.counts, refused=refused), self.create)


@dataclass(frozen=True, slots=True)
class Owned:
    """Candidates of which no two claim the same record, and no other entity of ours claims it.

    Tables: those of `Located`, and `clashing` (key, remote_id, key_digest, other).
    """

    relations: Relations
    shape: Shape
    counts: PlanCounts
    create: bool

    def clashes(self) -> Iterator[Refusal]:
        """Candidates that resolve to the same record as another of our entities."""
        query = "SELECT key, other, remote_id, key_digest FROM clashing ORDER BY key"
        for rows in self.relations.rows(query):
            for key, other, remote_id, digest in rows:
                cause = f"{key} and {other} are the same record at the destination ({remote_id}): neither is sent."
                outcome = Outcome(key, Status.REJECTED, code="same_record", cause=cause, answer=remote_id)
                yield Refusal(outcome, digest)

    def resolve(self, created_since: float | None) -> "Resolved":
        """Refuse the candidates that match no record or several, unless they are to be created.

        `created_since`, in seconds since 1970: a candidate that may have been created after it, and that a search cannot
        find yet, is not created again. None where a search finds a new record at once.
        """
        relations = self.relations
        joined = "FROM missing m JOIN candidate c ON c.key = m.entity"
        recent = "FALSE" if created_since is None else f"c.doubted_at > {created_since!r}"
        relations.create("recent", f"SELECT c.key {joined} WHERE len(m.remote_ids) = 0 AND {recent}")
        relations.remove("candidate", "key", "SELECT key FROM recent")
        several = " WHERE len(m.remote_ids) > 1" if self.create else ""
        relations.create("unfound", f"SELECT c.key, m.remote_ids, c.key_digest {joined}{several}")
        relations.remove("candidate", "key", "SELECT key FROM unfound")
        relations.drop("missing")
        counts = replace(self.counts, skipped=self.counts.skipped + relations.count("recent"))
        return Resolved(relations, self.shape, counts)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The candidates that may be written: each has exactly one record, or is to be created.

    Tables: those of `Known`, `recent` (key), `unfound` (key, remote_ids, key_digest).
    """

    relations: Relations
    shape: Shape
    counts: PlanCounts

    def possibly_created(self) -> Iterator[Outcome]:
        """Candidates that may have been created a moment ago, and are not created again."""
        for rows in self.relations.rows("SELECT key FROM recent ORDER BY key"):
            for (key,) in rows:
                cause = (
                    f"{key} may already exist: it was possibly created moments ago. The next run looks it up before"
                    " creating it."
                )
                yield Outcome(key, Status.UNKNOWN, code="no_answer", cause=cause)

    def unfound(self) -> Iterator[Refusal]:
        """Candidates that were looked up, match no record or several, and are not created."""
        for rows in self.relations.rows("SELECT key, remote_ids, key_digest FROM unfound ORDER BY key"):
            for key, remote_ids, digest in rows:
                yield Refusal(_unfound(key, remote_ids), digest)


def recall(
    candidates: Candidates, records: Iterable[Sequence[KnownRow]], levels: Iterable[Sequence[Sequence[Any]]]
) -> Known:
    """Add what the ledger knows of candidates and of records that left: `records` in chunks, and `levels` in chunks of
    (entity, level at the last write)."""
    relations = candidates.relations
    relations.declare(
        "known",
        "entity VARCHAR, remote_id VARCHAR, match_value VARCHAR, version INTEGER, fields VARCHAR, via VARCHAR",
    )
    relations.declare("levels", "entity VARCHAR, level VARCHAR")
    relations.fill("known", records)
    relations.fill("levels", levels)
    return Known(relations, candidates.shape, candidates.counts)


def match_values(shape: Shape, values: Sequence[str | None]) -> tuple[Match, ...]:
    """The keys of a record, in the mapping's order; those without a value are left out."""
    return tuple(
        Match(name, value) for name, value in zip(shape.match, values, strict=True) if value is not None
    )


def _unfound(key: str, remote_ids: Sequence[str]) -> Outcome:
    if remote_ids:
        several = ", ".join(remote_ids[:5])
        cause = f"{key} matches {len(remote_ids)} records at the destination ({several}). Merge them, or map a unique key."
        return Outcome(key, Status.REJECTED, code="ambiguous", cause=cause, answer=several)
    cause = f"{key} is not at the destination, and this mapping does not create records."
    return Outcome(key, Status.SKIPPED, code="unmatched", cause=cause)
