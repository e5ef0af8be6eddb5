"""Fields at the destination: created with `create_fields`, waited for if missing, kept if a person filled them."""

from pathlib import Path
from typing import Any

import pytest
from sync_stage import CONTACTS, Stage, numbered, planned, set_limits

from connectors.errors import Unavailable
from connectors.hubspot.destination import HubSpot
from heatsync.sandbox.server import Running
from heatsync.sync import deliver
from heatsync.sync.context import Timeouts
from heatsync.sync.run_batches import deliver_mapping

INTERCOM = """\
destination: intercom
object: contacts
match: {external_id: user_id}
fields: {tier: user.role}
"""


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


def test_fields_that_could_not_be_created_at_first_are_created_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS.replace("role:", "new:") + "create_fields: true\n")
    stage.contacts("u1", "u2")
    stage.users(numbered(2))

    def fail(*_: object) -> None:
        raise Unavailable("HubSpot answered 503")

    with monkeypatch.context() as patch:
        patch.setattr(HubSpot, "create_fields", fail)
        assert stage.sync().code == 3
    assert stage.sync().code == 0
    assert stage.roles("new") == numbered(2)


def test_a_deleted_field_is_created_again(stage: Stage) -> None:
    stage.mapping("m", CONTACTS.replace("role:", "new:") + "create_fields: true\n")
    stage.contacts("u1", "u2")
    stage.users(numbered(2))
    stage.sync()
    stage.contacts("u1", "u2")
    stage.users({"u1": "new", "u2": "newer"})
    assert stage.sync().code == 1
    stage.timeouts = Timeouts(fields=0.0)
    assert stage.sync().code == 0
    assert stage.roles("new") == {"u1": "new", "u2": "newer"}


def test_records_that_wait_for_a_field_cost_nothing_until_it_exists(stage: Stage) -> None:
    stage.mapping("m", CONTACTS.replace("role:", "wanted:"))
    stage.contacts("u1", "u2")
    stage.users(numbered(2))
    assert stage.sync().code == 1
    stage.calls()
    assert stage.sync().code == 0
    assert stage.calls() == 0
    stage.timeouts = Timeouts(fields=0.0)
    for _ in range(2):
        ended = stage.sync()
        assert (ended.code, ended.outcomes) == (0, {})
        assert stage.calls() == 1, "the fields are asked for, and nothing is sent"
    state = stage.sandbox.state()
    state["fields"]["hubspot"]["contacts"]["wanted"] = {"type": "string"}
    stage.sandbox.seed(state)
    assert stage.sync().code == 0
    assert stage.roles("wanted") == numbered(2)


@pytest.mark.parametrize("name", ["plain", "Größe", 'say "hi"', "back\\slash", "a b/c"])
def test_a_value_written_by_a_person_is_kept_whatever_the_field_is_called(stage: Stage, name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    stage.mapping(
        "m", INTERCOM.replace("{tier: user.role}", f'{{"{escaped}": {{from: user.role, write: if_empty}}}}')
    )
    own = {"id": "c1", "external_id": "u1", "email": "u1@x.com", "custom_attributes": {name: "their own"}}
    stage.sandbox.seed(
        {"intercom": {"contacts": [own]}, "fields": {"intercom": {"contacts": {name: {"type": "string"}}}}}
    )
    stage.users(numbered(1))
    stage.sync()
    (found,) = stage.sandbox.state()["intercom"]["contacts"]
    assert found["custom_attributes"] == {name: "their own"}


def test_fields_are_created_once_however_many_batches_come_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS.replace("role:", "new:") + "create_fields: true\n")
    stage.contacts(*numbered(8))
    stage.users(numbered(8))
    asked: list[str] = []
    real = HubSpot.fields

    def fields(self: HubSpot, object: str) -> Any:
        asked.append(object)
        return real(self, object)

    with stage.context() as context:
        set_limits(context, "m", changes_per_push=2, concurrency=4)
        planned(context, "m", "r")
        monkeypatch.setattr(HubSpot, "fields", fields)
        assert deliver_mapping(context, "r", context.mappings["m"]) is None
        assert context.ledger.runs("r")[0].state == "done"
    assert asked == ["contacts"]
    assert stage.roles("new") == numbered(8)


def test_creating_fields_does_not_reopen_a_run_that_ended_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS.replace("role:", "new:") + "create_fields: true\n")
    stage.contacts("u1")
    stage.users(numbered(1))
    real = HubSpot.create_fields
    with stage.context() as context:

        def slowly(self: HubSpot, *arguments: Any) -> None:
            real(self, *arguments)
            context.ledger.finish_run("r", "m", "given up")

        monkeypatch.setattr(HubSpot, "create_fields", slowly)
        planned(context, "m", "r")
        (batch,) = context.ledger.due_batches("r")
        deliver.deliver(context, batch)
        (run,) = context.ledger.runs("r")
        assert (run.state, run.cause) == ("failed", "given up")
