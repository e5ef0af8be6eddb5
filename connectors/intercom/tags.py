"""Intercom's tags: which ones a record has, and many records tagged or untagged in one call.

Nothing relies on what the description 2.14 leaves open. `POST /tags` answers with the tag and names no record: one that does
not exist makes it refuse the whole call, without naming it (description 2.14; intercom-node issue 263, 2020). Untagging
contacts with it is in the reference up to 1.4 and not in the description of 2.14, which has one call per contact: so after
the first such call, one contact that had the tag is looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from connectors.answers import Answer, as_object, objects_in
from connectors.intercom import records
from connectors.intercom.client import IntercomClient, errors
from connectors.types import TAG, Change, Outcome

TOGETHER = 50
"""Records that a call tags: more could run into a timeout (reference 1.3, which names no other limit)."""
LISTS = {"contacts": "users", "companies": "companies"}
"""What `POST /tags` calls them."""
GONE = (404, 410)
"""A contact that was merged into another no longer exists either."""
WITNESSES = 3
"""How many contacts are read to find one that has a tag."""

TagChange = tuple[Change, Mapping[str, bool], str]
"""A change, its tags (whether the record should have each), and the id of its record."""


def apart(change: Change) -> tuple[Change, Mapping[str, bool]]:
    """The change without tags, and its tags: whether the record should have each."""
    tags = {name: value is True for name, value in change.fields.items() if name.startswith(TAG)}
    if not tags:
        return change, tags
    return replace(change, fields={n: v for n, v in change.fields.items() if n not in tags}), tags


class Tags:
    """The tags of one workspace. `refusal` makes the outcome of a refused change."""

    def __init__(self, client: IntercomClient, refusal: Callable[[Change, Answer], Outcome]) -> None:
        self._client = client
        self._refusal = refusal
        self._untags_together: bool | None = None
        """Whether `POST /tags` untags contacts; None until that was seen."""

    def reader(self) -> records.Tagged:
        """A function that returns a record's tags. It asks for the workspace's tags once, when a contact has any."""
        names: dict[str, str] = {}

        def tagged(record: records.Record) -> frozenset[str]:
            shown = as_object(record.get("tags"))
            if "tags" in shown:  # a company: all of them, with their names
                return _names(objects_in(shown["tags"]))
            data, total = objects_in(shown.get("data")), shown.get("total_count")
            if isinstance(total, int) and len(data) < total:
                # A contact shows ten at most (description 2.14).
                return _names(self._of_contact(str(record["id"])) or ())
            if data and not names:
                names.update({str(each["id"]): str(each.get("name")) for each in self._all()})
            return frozenset(names.get(str(each.get("id")), "").casefold() for each in data)

        return tagged

    def write(self, object: str, wanted: Sequence[TagChange]) -> Mapping[str, Outcome]:
        """Tag and untag many records. Returns the outcomes of the refused changes, by key."""
        refused: dict[str, tuple[str, Answer]] = {}
        together: dict[tuple[str, bool], dict[str, None]] = {}
        for _, tags, id in wanted:
            for tag, on in tags.items():
                together.setdefault((tag, on), {})[id] = None
        for (tag, on), ids in together.items():
            left = [id for id in ids if id not in refused]
            for start in range(0, len(left), TOGETHER):
                for id, answer in self._mark(object, tag, on, left[start : start + TOGETHER]):
                    refused.setdefault(id, (tag, answer))
        outcomes = {}
        for change, tags, id in wanted:
            if id in refused:
                tag, answer = refused[id]
                outcome = self._refusal(change, answer)
                if outcome.code != "not_found":
                    outcome = replace(outcome, field=tag, partly_written=len(tags) > 1)
                outcomes[change.key] = outcome
        return outcomes

    def _mark(self, object: str, tag: str, on: bool, ids: Sequence[str]) -> Iterator[tuple[str, Answer]]:
        """Tag or untag records. Yields the refused ones, by id."""
        if on or object != "contacts" or self._untags_together:
            yield from self._mark_together(object, tag, on, [ids])
            return
        witness = self._tagged_one(tag, ids) if self._untags_together is None else None
        done = witness is not None and self._client.names_record(self._post(object, tag, on, ids))
        # The whole call may be refused because of one contact that no longer exists.
        if witness is not None and self._seen_to_untag(tag, witness, done):
            half = (len(ids) + 1) // 2
            left = [] if done else [part for part in (ids[half:], ids[:half]) if part]
            yield from self._mark_together(object, tag, on, left)
        else:
            yield from self._untag_each(tag, ids)

    def _mark_together(
        self, object: str, tag: str, on: bool, parts: list[Sequence[str]]
    ) -> Iterator[tuple[str, Answer]]:
        """Halve a refused part until single records are left. Yields the refused records, by id.

        The first one may stand for all: a tag that cannot be created makes Intercom refuse every record.
        """
        unsure = on
        while parts:
            part = parts.pop()
            answer = self._post(object, tag, on, part)
            if self._client.names_record(answer):
                unsure = False
                continue
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            yield part[0], answer
            if unsure and answer.status not in GONE:
                if not self._client.names_record(self._ask("POST", "tags", {"name": tag.removeprefix(TAG)})):
                    yield from ((id, answer) for part in parts for id in part)
                    return
                unsure = False

    def _post(self, object: str, tag: str, on: bool, ids: Sequence[str]) -> Answer:
        each = {} if on else {"untag": True}
        body = {"name": tag.removeprefix(TAG), LISTS[object]: [{"id": id, **each} for id in ids]}
        return self._ask("POST", "tags", body)

    def _tagged_one(self, tag: str, ids: Sequence[str]) -> str | None:
        """One of the first few contacts that has the tag: only a tagged contact can show that untagging works."""
        for id in ids[:WITNESSES]:
            if records.folded(tag) in _names(self._of_contact(id) or ()):
                return id
        return None

    def _seen_to_untag(self, tag: str, witness: str, done: bool) -> bool:
        """Whether `POST /tags` removes the tag from a contact that had it. `done`: it was in a call that succeeded; else it
        is tried alone. An API that does it once does it always."""
        if not done:
            answer = self._post("contacts", tag, False, [witness])
            if not self._client.names_record(answer):
                self._untags_together = None if answer.status in GONE else False
                return False
        present = self._of_contact(witness)
        if present is not None:
            self._untags_together = records.folded(tag) not in _names(present)
        return self._untags_together is True

    def _untag_each(self, tag: str, ids: Sequence[str]) -> Iterator[tuple[str, Answer]]:
        tag_id = next((str(t["id"]) for t in self._all() if records.folded(tag) in _names([t])), None)
        for id in ids if tag_id is not None else ():
            answer = self._ask("DELETE", f"contacts/{quote(id, safe='')}/tags/{tag_id}", None)
            if self._client.names_record(answer):
                continue
            # It may be the tag that was not found. All that matters is that the contact no longer has it.
            present = self._of_contact(id) if answer.status in GONE else None
            if present is None or records.folded(tag) in _names(present):
                yield id, answer

    def _ask(self, method: str, path: str, body: records.Record | None) -> Answer:
        """A call that may be repeated: it succeeded, or was refused with a reason. Raises Unauthorized, Misunderstood."""
        answer = self._client.direct(method, path, body)
        refused = answer.refused and answer.status != 403 and errors(answer)
        if not refused and not answer.ok:
            self._client.misread(answer, f"{method} tags")
        return answer

    def _of_contact(self, id: str) -> list[records.Record] | None:
        """All tags of a contact; None when the contact no longer exists."""
        answer = self._ask("GET", f"contacts/{quote(id, safe='')}/tags", None)
        return None if answer.status in GONE else self._client.listed(answer, "GET /contacts/{id}/tags")

    def _all(self) -> list[records.Record]:
        return self._client.listed(self._ask("GET", "tags", None), "GET /tags")


def _names(tags: Iterable[records.Record]) -> frozenset[str]:
    return frozenset(str(each.get("name")).casefold() for each in tags)
