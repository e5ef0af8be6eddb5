"""Looking up Intercom's contacts and companies."""

from datetime import UTC, datetime

from fake_vendor import RecordingThrottle, Reply, Request, answering
from intercom_calls import LEVEL, SCORE, SEEN, find, lookup, refusal, seed, workspace

from connectors.types import FieldType, Found
from heatsync.sandbox.server import Running


def test_a_contact_is_found_by_external_id_before_email_and_its_values_are_read(sandbox: Running) -> None:
    custom = {SCORE: 71, SEEN: 1_764_000_000, LEVEL: "High", "paying": True, "share": 66.5}
    seed(
        sandbox,
        [
            {"id": "5f1", "external_id": "u1", "email": "ada@example.com", "custom_attributes": custom},
            {"id": "5f2", "external_id": "x", "email": "bob@example.com", "name": "Bob"},
            {"id": "5f3", "email": "twins@example.com", "external_id": "t1"},
            {"id": "5f4", "email": "Twins@Example.com", "external_id": "t2"},
        ],
    )
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(
            destination,
            lookup("u1", external_id="u1", email="bob@example.com"),
            lookup("u2", external_id="u2", email="Bob@example.com"),
            lookup("u3", external_id="u3", email="twins@example.com"),
            lookup("u4", external_id="u4", email="nobody@example.com"),
            **{
                SCORE: FieldType.INTEGER,
                SEEN: FieldType.DATETIME,
                LEVEL: FieldType.TEXT,
                "paying": FieldType.BOOLEAN,
                "share": FieldType.NUMBER,
                "name": FieldType.TEXT,
            },
        )
    assert watched.calls == 1
    assert (found["u1"].remote_ids, found["u1"].matched_by) == (("5f1",), "external_id")
    assert found["u1"].values == {
        SCORE: 71,
        SEEN: datetime(2025, 11, 24, 16, 0, tzinfo=UTC),
        LEVEL: "High",
        "paying": True,
        "share": 66.5,
        "name": None,
    }
    assert (found["u2"].remote_ids, found["u2"].matched_by) == (("5f2",), "email")
    assert (found["u2"].values["name"], found["u2"].values[SCORE]) == ("Bob", None)
    assert sorted(found["u3"].remote_ids) == ["5f3", "5f4"]
    assert found["u4"] == Found("u4", ())


def test_a_second_key_with_one_hit_settles_what_the_first_left_open(sandbox: Running) -> None:
    """Reported: users whose external ids differ may share an e-mail address."""
    seed(
        sandbox,
        [
            {"id": "5f1", "email": "twins@example.com", "external_id": "t1"},
            {"id": "5f2", "email": "twins@example.com", "external_id": "t2"},
        ],
    )
    with workspace(sandbox.url) as destination:
        found = find(destination, lookup("u1", email="twins@example.com", external_id="t2"))
    assert (found["u1"].remote_ids, found["u1"].matched_by) == (("5f2",), "external_id")


def test_a_remembered_contact_is_read_by_its_id_and_looked_up_by_key_when_it_is_gone(
    sandbox: Running,
) -> None:
    seed(sandbox, [{"id": "5f1", "email": "new@example.com"}, {"id": "5f2", "external_id": "u2"}])
    with workspace(sandbox.url) as destination:
        found = find(
            destination,
            lookup("u1", id="5f1", email="old@example.com"),
            lookup("u2", id="0", external_id="u2"),
        )
    assert (found["u1"].remote_ids, found["u1"].matched_by) == (("5f1",), "id")
    assert (found["u2"].remote_ids, found["u2"].matched_by) == (("5f2",), "external_id")


def test_150_contacts_are_found_in_one_call(sandbox: Running) -> None:
    seed(sandbox, ({"external_id": f"u{n}", "email": f"u{n}@example.com"} for n in range(400)))
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(
            destination,
            *(lookup(f"u{n}", external_id=f"u{n}", email=f"u{n}@example.com") for n in range(300)),
        )
    assert all(len(each.remote_ids) == 1 for each in found.values())
    assert watched.calls == 2


def test_hits_beyond_the_first_page_are_read(sandbox: Running) -> None:
    seed(sandbox, ({"external_id": f"u{n}", "email": "all@example.com"} for n in range(320)))
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(destination, lookup("u1", email="all@example.com"))
    assert len(found["u1"].remote_ids) == 320
    assert watched.calls == 3


def test_a_search_with_too_many_values_is_split() -> None:
    def answer(request: Request) -> Reply:
        values = request.body["query"]["value"]
        if len(values) > 15:
            return Reply(400, refusal("parameter_invalid", "too many values"))
        people = [{"id": f"i-{each}", "external_id": each} for each in values]
        return Reply(200, {"type": "list", "data": people, "pages": {"type": "pages"}})

    with answering(answer) as vendor, workspace(vendor.url) as destination:
        found = find(destination, *(lookup(f"u{n}", external_id=f"u{n}") for n in range(40)))
    assert {key: each.remote_ids for key, each in found.items()} == {f"u{n}": (f"i-u{n}",) for n in range(40)}
    assert len(vendor.requests) == 4


def test_companies_are_found_by_their_id_one_call_each(sandbox: Running) -> None:
    name = "Accoil_Health_Account_Score"
    seed(
        sandbox,
        companies=[
            {"id": "c1", "company_id": "a/1 ü", "plan": "Pro", "custom_attributes": {name: 40}},
            {"id": "c2", "company_id": "a2"},
        ],
    )
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(
            destination,
            lookup("a1", company_id="a/1 ü"),
            lookup("a2", id="c2", company_id="zzz"),
            lookup("a3", company_id="a3"),
            object="companies",
            **{name: FieldType.INTEGER, "plan": FieldType.TEXT},
        )
    assert found["a1"] == Found("a1", ("c1",), "company_id", {name: 40, "plan": "Pro"})
    assert found["a2"] == Found("a2", ("c2",), "id", {name: None, "plan": None})
    assert found["a3"] == Found("a3", ())
    assert watched.calls == 3


def test_a_remembered_company_that_is_gone_is_looked_up_by_key(sandbox: Running) -> None:
    seed(sandbox, companies=[{"id": "c1", "company_id": "a1"}])
    with workspace(sandbox.url) as destination:
        found = find(destination, lookup("a1", id="gone", company_id="a1"), object="companies")
    assert (found["a1"].remote_ids, found["a1"].matched_by) == (("c1",), "company_id")


def test_in_a_list_of_companies_only_the_requested_one_counts() -> None:
    listed = [{"type": "company", "id": "c1", "company_id": "a1"}, {"id": "c2", "company_id": "other"}]
    body = {"type": "list", "data": listed}
    with answering(lambda request: Reply(200, body)) as vendor, workspace(vendor.url) as destination:
        found = find(destination, lookup("a1", company_id="a1"), object="companies")
    assert found["a1"].remote_ids == ("c1",)


def test_a_hit_that_contradicts_an_earlier_key_is_no_match(sandbox: Running) -> None:
    seed(
        sandbox,
        [
            {"id": "c1", "external_id": "u1", "email": "same@x.com"},
            {"id": "c2", "external_id": "u2", "email": "same@x.com"},
            {"id": "c3", "external_id": "u3", "email": "other@x.com"},
        ],
    )
    with workspace(sandbox.url) as destination:
        found = find(
            destination,
            lookup("among", email="same@x.com", external_id="u2"),
            lookup("beside", email="same@x.com", external_id="u3"),
        )
    assert found["among"].remote_ids == ("c2",)
    assert sorted(found["beside"].remote_ids) == ["c1", "c2"]
