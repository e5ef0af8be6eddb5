"""Intercom's tags: which ones a record has, and many records tagged or untagged in one call.

What the description 2.14 leaves open is not relied on. `POST /tags` answers the tag and names nobody: who does not
exist has the whole call refused, unnamed (description 2.14; intercom-node issue 263, 2020). Untagging contacts there is
in the reference up to 1.4 and not in the description of 2.14, which has one call for each: so after
the first call one of those who had the tag is looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from connectors.http import Answer
from connectors.intercom import records
from connectors.types import TAG, Change, Outcome

TOGETHER = 50
"""Records that a call tags: more could run into a timeout (reference 1.3, which names no other limit)."""
LISTS = {"contacts": "users", "companies": "companies"}
"""What `POST /tags` calls them."""
GONE = (404, 410)
"""A contact that was merged into another is gone as well."""
WITNESSES = 3
"""Contacts that are looked at to find one that has a tag."""

Wanted = tuple[Change, Mapping[str, bool], str]
"""A change, its tags, and the id of its record."""
Ask = Callable[[str, str, records.Record | None], Answer]
"""(method, path, body) -> the answer, for calls that may be repeated."""


def apart(change: Change) -> tuple[Change, Mapping[str, bool]]:
    """The change without tags, and the tags: whether the record is to have them."""
    tags = {name: value is True for name, value in change.fields.items() if name.startswith(TAG)}
    if not tags:
        return change, tags
    return replace(change, fields={n: v for n, v in change.fields.items() if n not in tags}), tags


class Tags:
    """The tags of one workspace. `listed` reads the tags out of an answer, `done` tells whether one names what was
    written, `refused` makes a refusal's outcome; `ask` answers nothing that is neither done nor refused."""

    def __init__(
        self,
        ask: Ask,
        listed: Callable[[Answer, str], list[records.Record]],
        done: Callable[[Answer], bool],
        refused: Callable[[Change, Answer], Outcome],
    ) -> None:
        self._ask = ask
        self._listed = listed
        self._done = done
        self._refused = refused
        self._untags_together: bool | None = None
        """Whether `POST /tags` untags contacts; None until it was seen."""

    def reader(self) -> records.Tagged:
        """What tells a record's tags; the workspace's are asked for once, when the first contact has any."""
        names: dict[str, str] = {}

        def tagged(record: records.Record) -> frozenset[str]:
            shown = record.get("tags") or {}
            if "tags" in shown:  # a company: all of them, with their names
                return _names(shown["tags"] or ())
            data = shown.get("data") or []
            if len(data) < (shown.get("total_count") or 0):
                # A contact shows ten at most (description 2.14).
                return _names(self._of_contact(str(record["id"])) or ())
            if data and not names:
                names.update({str(each["id"]): str(each.get("name")) for each in self._all()})
            return frozenset(names.get(str(each.get("id")), "").casefold() for each in data)

        return tagged

    def write(self, object: str, wanted: Sequence[Wanted]) -> Mapping[str, Outcome]:
        """Tag and untag many records. Answers the outcomes of the changes that were refused, by key."""
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
                outcome = self._refused(change, answer)
                if outcome.code != "not_found":
                    outcome = replace(outcome, field=tag, partly_written=len(tags) > 1)
                outcomes[change.key] = outcome
        return outcomes

    def _mark(self, object: str, tag: str, on: bool, ids: Sequence[str]) -> Iterator[tuple[str, Answer]]:
        """Tag or untag these, and answer who was refused."""
        if on or object != "contacts" or self._untags_together:
            yield from self._mark_together(object, tag, on, [ids])
            return
        witness = self._holder(tag, ids) if self._untags_together is None else None
        done = witness is not None and self._done(self._post(object, tag, on, ids))
        # Where all are refused it may be because of one who is gone.
        if witness is not None and self._seen_to_untag(tag, witness, done):
            half = (len(ids) + 1) // 2
            left = [] if done else [part for part in (ids[half:], ids[:half]) if part]
            yield from self._mark_together(object, tag, on, left)
        else:
            yield from self._untag_each(tag, ids)

    def _mark_together(
        self, object: str, tag: str, on: bool, parts: list[Sequence[str]]
    ) -> Iterator[tuple[str, Answer]]:
        """A part that is refused is halved until who is refused stands alone.

        The first who does may stand for all: a tag that cannot be made has everybody refused.
        """
        unsure = on
        while parts:
            part = parts.pop()
            answer = self._post(object, tag, on, part)
            if self._done(answer):
                unsure = False
                continue
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            yield part[0], answer
            if unsure and answer.status not in GONE:
                if not self._done(self._ask("POST", "tags", {"name": tag.removeprefix(TAG)})):
                    yield from ((id, answer) for part in parts for id in part)
                    return
                unsure = False

    def _post(self, object: str, tag: str, on: bool, ids: Sequence[str]) -> Answer:
        each = {} if on else {"untag": True}
        body = {"name": tag.removeprefix(TAG), LISTS[object]: [{"id": id, **each} for id in ids]}
        return self._ask("POST", "tags", body)

    def _holder(self, tag: str, ids: Sequence[str]) -> str | None:
        """A contact that has the tag, among the first few: only who had it can show that it was taken off."""
        for id in ids[:WITNESSES]:
            if records.folded(tag) in _names(self._of_contact(id) or ()):
                return id
        return None

    def _seen_to_untag(self, tag: str, witness: str, done: bool) -> bool:
        """Whether `POST /tags` takes the tag off this contact, who had it, and who was `done` together with others or is
        tried alone. An API that does it does it always."""
        if not done:
            answer = self._post("contacts", tag, False, [witness])
            if not self._done(answer):
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
            if self._done(answer):
                continue
            # What was not found may be the tag: that this contact has it no more is what is wanted.
            present = self._of_contact(id) if answer.status in GONE else None
            if present is None or records.folded(tag) in _names(present):
                yield id, answer

    def _of_contact(self, id: str) -> list[records.Record] | None:
        """All tags of a contact; None when it is gone."""
        answer = self._ask("GET", f"contacts/{quote(id, safe='')}/tags", None)
        return None if answer.status in GONE else self._listed(answer, "GET /contacts/{id}/tags")

    def _all(self) -> list[records.Record]:
        return self._listed(self._ask("GET", "tags", None), "GET /tags")


def _names(tags: Iterable[records.Record]) -> frozenset[str]:
    return frozenset(str(each.get("name")).casefold() for each in tags)
