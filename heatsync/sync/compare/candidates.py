"""The first step of a comparison: which desired records are candidates for a write, by their standings."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.types import Outcome, Status
from heatsync.ledger import PlanCounts, StandingState
from heatsync.sync.compare.relations import Relations, digest_sql, text_sql
from heatsync.sync.compare.types import Refusal, Scope, Shape
from heatsync.sync.value_problems import ValueProblem, struct_sql


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired relation, materialised.

    Table `desired`: the columns of the mapping's query, and match_key, digest, key_digest.
    """

    relations: Relations
    shape: Shape


@dataclass(frozen=True, slots=True)
class Standings:
    """The standings of our records, from the ledger.

    `settled` comes in chunks of (entity, digest), `unsettled` in chunks of (entity, digest, state, recheck_at, code,
    doubted_at). Times are in seconds since 1970.
    """

    settled: Iterable[Sequence[Any]]
    unsettled: Iterable[Sequence[Any]]
    now: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """Records whose desired digest is not the one that their standing is about, and records that left.

    Tables: `candidate` (the desired relation, is_new, disputed, doubted_at), `leaving` (key, state), `unsendable` (key,
    problem, key_digest, keyless), `untouched` (key).
    """

    relations: Relations
    shape: Shape
    counts: PlanCounts

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.relations.count("candidate")

    def key_chunks(self) -> Iterator[list[str]]:
        """Our ids of every record that the ledger may know something about: candidates, and those that left."""
        for rows in self.relations.rows("SELECT key FROM candidate UNION ALL SELECT key FROM leaving"):
            yield [row[0] for row in rows]

    def refusals(self) -> Iterator[Refusal]:
        """The records that cannot be sent at all."""
        query = "SELECT key, problem, keyless, key_digest FROM unsendable ORDER BY key"
        for rows in self.relations.rows(query):
            for key, problem, keyless, digest in rows:
                found = ValueProblem.from_struct(problem) if problem is not None else None
                yield Refusal(_unsendable(key, found, keyless), digest)


def materialise(relations: Relations, shape: Shape, sql: str) -> Desired:
    """Materialise a mapping's query with a digest per row. Two of our records with one key become problems."""
    matches = [f"m{i}" for i in range(len(shape.match))]
    fields = [f"f{i}" for i in range(len(shape.columns))]
    level = ["level"] if shape.tolerant else []
    via = ["via IS NULL"] if shape.needs_via else []
    first = "coalesce(" + ", ".join(f"'{i}:' || {name}" for i, name in enumerate(matches)) + ")"
    content = _texts([*matches, "problem", *level, *via, *fields])
    found_by = _texts([*matches, "problem", *via])
    digest = digest_sql(f"{text_sql(shape.definition_hash)}, {content}")
    key_digest = digest_sql(f"{text_sql(shape.identity_hash)}, {found_by}")
    relations.create(
        "desired",
        f"SELECT *, {first} AS match_key, {digest} AS digest, {key_digest} AS key_digest FROM ({sql})",
    )
    relations.create(
        "doubled",
        "SELECT match_key, min(key) AS one, max(key) AS other"
        " FROM desired WHERE match_key IS NOT NULL GROUP BY match_key HAVING count(*) > 1",
    )
    namesake = "CASE WHEN key = one THEN other ELSE one END"
    relations.execute(
        f"UPDATE desired SET problem = {struct_sql(text_sql('duplicate_key'), 'doubled.match_key', namesake)},"
        f" digest = {digest_sql(f'digest, {namesake}')}, key_digest = {digest_sql(f'key_digest, {namesake}')}"
        " FROM doubled WHERE desired.match_key = doubled.match_key AND problem IS NULL"
    )
    relations.drop("doubled")
    return Desired(relations, shape)


def select(desired: Desired, standings: Standings, scope: Scope) -> Candidates:
    """The candidates of a scope. Takes the table `desired` over: only the candidates are left of it."""
    relations, shape = desired.relations, desired.shape
    counts = PlanCounts(records=relations.count("desired"))
    _load(relations, standings)
    left_alone = (
        "FALSE"
        if scope.everything
        else f"(s.digest = d.digest OR s.digest = d.key_digest) AND s.state NOT IN ('{StandingState.LEFT}', '{StandingState.UNKNOWN}')"
        f" AND (s.recheck_at IS NULL OR s.recheck_at > {standings.now!r})"
    )
    only = "" if scope.only is None else f" AND d.key = {text_sql(scope.only)}"
    limit = "" if scope.limit is None else f" ORDER BY d.key LIMIT {int(scope.limit)}"
    relations.create(
        "candidate",
        f"SELECT d.*, (s.state IS NULL OR s.state <> '{StandingState.SETTLED}') AS is_new,"
        " coalesce(s.code = 'same_record', FALSE) AS disputed, s.doubted_at"
        " FROM desired d LEFT JOIN standing s ON d.key = s.entity"
        f" WHERE NOT coalesce({left_alone}, FALSE){only}{limit}",
    )
    counts = _count_left_alone(relations, counts, f"coalesce({left_alone}, FALSE){only}", scope)
    relations.create(
        "leaving",
        "SELECT s.entity AS key, s.state FROM standing s ANTI JOIN desired d ON s.entity = d.key"
        f" WHERE s.state <> '{StandingState.LEFT}'"
        f" AND NOT (s.state = '{StandingState.REJECTED}' AND s.digest IS NULL)"
        + (" AND FALSE" if scope.partial else ""),
    )
    via = " OR via IS NULL" if shape.needs_via else ""
    relations.create(
        "unsendable",
        f"SELECT key, problem, key_digest, ({shape.has_no_key}) AS keyless FROM candidate"
        f" WHERE problem IS NOT NULL OR ({shape.has_no_key}){via}",
    )
    relations.remove("candidate", "key", "SELECT key FROM unsendable")
    relations.create(
        "untouched",
        "SELECT key FROM desired ANTI JOIN candidate USING (key)"
        " WHERE key NOT IN (SELECT key FROM unsendable WHERE keyless)",
    )
    relations.execute("DROP VIEW standing")
    relations.drop("settled", "unsettled", "desired")
    refused = relations.count("unsendable", "problem IS NOT NULL")
    skipped = relations.count("unsendable") - refused
    return Candidates(
        relations, shape, replace(counts, refused=counts.refused + refused, skipped=counts.skipped + skipped)
    )


def _load(relations: Relations, standings: Standings) -> None:
    """View `standing`: entity, digest, state, recheck_at, code, doubted_at."""
    relations.declare("settled", "entity VARCHAR, digest BIGINT")
    relations.declare(
        "unsettled",
        "entity VARCHAR, digest BIGINT, state VARCHAR, recheck_at DOUBLE, code VARCHAR, doubted_at DOUBLE",
    )
    relations.fill("settled", standings.settled)
    relations.fill("unsettled", standings.unsettled)
    relations.execute(
        f"CREATE OR REPLACE VIEW standing AS SELECT entity, digest, '{StandingState.SETTLED}' AS state,"
        " NULL::DOUBLE AS recheck_at,"
        " NULL AS code, NULL::DOUBLE AS doubted_at FROM settled UNION ALL SELECT * FROM unsettled"
    )


def _count_left_alone(relations: Relations, counts: PlanCounts, where: str, scope: Scope) -> PlanCounts:
    """Count the records that are left alone without being settled, and only those that the scope looks at."""
    rows = relations.all(
        "SELECT s.state, s.code, count(*) FROM desired d LEFT JOIN standing s ON d.key = s.entity"
        f" WHERE {where} GROUP BY ALL"
    )
    if scope.partial:
        counts = replace(counts, records=sum(row[2] for row in rows) + relations.count("candidate"))
    found: Counter[str] = Counter()
    for state, code, number in rows:
        if code in ("unmatched", "ambiguous"):
            found[code] += number
        elif state in (StandingState.REJECTED, StandingState.SKIPPED):
            found[state] += number
    return replace(
        counts,
        unmatched=found["unmatched"],
        ambiguous=found["ambiguous"],
        refused=found[StandingState.REJECTED],
        skipped=found[StandingState.SKIPPED],
        parked=found.total(),
    )


def _texts(names: Sequence[str]) -> str:
    return ", ".join(f"coalesce(CAST({name} AS VARCHAR), chr(30))" for name in names)


def _unsendable(key: str, problem: ValueProblem | None, keyless: bool) -> Outcome:
    if problem is not None and problem.code == "duplicate_key":
        cause = (
            f"{key} has the same key as {problem.value}: neither is sent. Make the key unique in the source."
        )
        return Outcome(key, Status.REJECTED, code=problem.code, cause=cause, answer=problem.value)
    if problem is not None:
        cause = f"{key}: {problem.cause}."
        return Outcome(
            key, Status.REJECTED, code=problem.code, cause=cause, field=problem.field, answer=problem.value
        )
    if keyless:
        return Outcome(key, Status.SKIPPED, code="no_key", cause=f"{key} has no value for the mapping's key.")
    cause = f"{key} has no member through which a group call can be made."
    return Outcome(key, Status.SKIPPED, code="no_member", cause=cause)
