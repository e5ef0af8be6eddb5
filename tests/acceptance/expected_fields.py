"""What the demo's mappings must leave in the four destinations, written out a second time in plain Python.

Per mapping, `wants` answers what each record's fields have to be, as Python values: None is "nothing stands
there", and a field that is not named is left alone. `spell` is how the vendor keeps a value.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from reference import score

Record = dict[str, Any]
Fields = dict[str, Any]
METRICS = {
    "score": "Score",
    "segments": "Segments",
    "activation": "Activation",
    "adoption_recent": "Adoption_Recent",
    "adoption_ever": "Adoption_Ever",
    "last_active": "LastActive",
    "frequency": "Frequency",
    "active_users": "ActiveUsers",
    "total_users": "TotalUsers",
}
WORDS = {"Very High": "very_high", "High": "high", "Medium": "medium", "Low": "low"}


@dataclass(frozen=True, slots=True)
class Spec:
    """A mapping: its records at the destination, their keys in the order in which they are tried, and what it wants."""

    vendor: str
    object: str
    entity: str
    match: tuple[tuple[str, str], ...]
    wants: Callable[["Demo", str], Fields]
    audience: str | None = None


class Demo:
    """A workspace's tables, and every metric of every user and account on one day."""

    def __init__(self, folder: Path, day: date) -> None:
        self.listed = {
            entity: {row[f"{entity}_id"]: row for row in _rows(folder / f"data/{entity}s.csv")}
            for entity in ("user", "account")
        }
        self.scored: dict[str, dict[str, Fields]] = score(
            pq.read_table(folder / "data/events.parquet").to_pylist(),
            self.listed["user"].values(),
            self.listed["account"].values(),
            yaml.safe_load((folder / "mappings/profiles/health.yml").read_text("utf-8")),
            "UTC",
            day,
        )

    def keys(self, spec: Spec) -> Iterator[str]:
        for key, row in self.scored[spec.entity].items():
            if spec.audience is None or spec.audience in row["audiences"]:
                yield key

    def user(self, key: str) -> tuple[Fields, Fields, Fields]:
        """A user's metrics, those of the account, and the account's row of the table."""
        row = self.scored["user"][key]
        home = row["account_id"]
        return row, self.scored["account"].get(home, {}), self.listed["account"].get(home, {})

    def account(self, key: str) -> tuple[Fields, Fields]:
        return self.scored["account"][key], self.listed["account"].get(key, {})

    def found(self, spec: Spec, records: Iterable[Record]) -> dict[str, list[Record]]:
        """For each of our keys, the record that it is at the destination; several are ambiguous, none is unmatched."""
        by: dict[tuple[str, str], list[Record]] = {}
        for record in records:
            held = record.get("properties", record)
            for theirs, ours in spec.match:
                by.setdefault((theirs, _folded(ours, held.get(theirs))), []).append(record)
        answer = {}
        for key in self.keys(spec):
            listed = self.listed[spec.entity].get(key, {}) | {f"{spec.entity}_id": key}
            tried = [
                by.get((theirs, _folded(ours, listed.get(ours))), [])
                for theirs, ours in spec.match
                if listed.get(ours)
            ]
            several = [record for hits in tried for record in hits]
            answer[key] = next((hits for hits in tried if len(hits) == 1), several)
        return answer


def _rows(path: Path) -> Iterator[Fields]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {name: value or None for name, value in row.items()}


def _folded(column: str, value: Any) -> str:
    return str(value or "").lower() if column in ("email", "domain") else str(value or "")


def standard(row: Fields, name: str) -> Fields:
    return {name.format(suffix): row[metric] for metric, suffix in METRICS.items() if metric in row}


def day_of(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def note(row: Fields) -> str:
    return f"Score {row['score']}, {row['trend']}"


def hubspot_contact(demo: Demo, key: str) -> Fields:
    row, home, firm = demo.user(key)
    traits = {name.lower(): value for name, value in standard(row, "Accoil_Health_{}").items()}
    return traits | {
        "heatsync_level": WORDS[row["level"]],
        "heatsync_last_active": day_of(row["last_active"]),
        "heatsync_audiences": ", ".join(row["segments"]),
        "heatsync_is_new": "new" in row["audiences"],
        "heatsync_account_score": home.get("score"),
        "heatsync_plan": firm.get("plan") or "none",
    }


def hubspot_company(demo: Demo, key: str) -> Fields:
    row, listed = demo.account(key)
    traits = {name.lower(): value for name, value in standard(row, "Accoil_Health_{}").items()}
    nps = {"heatsync_nps": int(listed["nps"])} if listed.get("nps") else {}
    plan = {"heatsync_plan": listed["plan"]} if listed.get("plan") else {}
    return (
        traits
        | nps
        | plan
        | {
            "heatsync_level": WORDS[row["level"]],
            "heatsync_level_since": row["level_changed_on"],
            "heatsync_trend": row["trend"],
            "heatsync_top_features": row["drivers"],
            "csm_note": note(row),
        }
    )


def hubspot_cooling(demo: Demo, key: str) -> Fields:
    lost = abs(demo.scored["account"][key]["score_change_window"])
    return {"heatsync_save_play": f"Lost {lost} points within a week"}


def intercom_contact(demo: Demo, key: str) -> Fields:
    row = demo.scored["user"][key]
    own = {"engagement_level": row["level"], "engagement_trend": row["trend"]}
    return standard(row, "Accoil_Health_{}") | own | {"is_new": "new" in row["audiences"]}


def intercom_company(demo: Demo, key: str) -> Fields:
    row = demo.scored["account"][key]
    return standard(row, "Accoil_Health_Account_{}") | {
        "account_engagement_level": row["level"],
        "account_engagement_trend": row["trend"],
        "account_top_features": row["drivers"],
    }


def salesforce_account(demo: Demo, key: str) -> Fields:
    row, listed = demo.account(key)
    return standard(row, "Accoil_Health_{}__c") | {
        "Engagement_Level__c": row["level"],
        "Engagement_Trend__c": row["trend"],
        "Last_Seen__c": day_of(row["last_active"]),
        "Went_Quiet__c": "recently_inactive" in row["audiences"],
        "Product_Plan__c": listed.get("plan") or "free",
        "CSM_Note__c": note(row),
    }


def segment_user(demo: Demo, key: str) -> Fields:
    row, home, firm = demo.user(key)
    return standard(row, "Accoil_Health_{}") | {
        "engagement_level": row["level"],
        "engagement_trend": row["trend"],
        "account_plan": firm.get("plan") or "free",
        "account_engagement_score": home.get("score"),
    }


def segment_account(demo: Demo, key: str) -> Fields:
    row, listed = demo.account(key)
    nps = {"net_promoter_score": int(listed["nps"])} if listed.get("nps") else {}
    return (
        standard(row, "Accoil_Health_{}")
        | nps
        | {
            "engagement_level": row["level"],
            "engagement_trend": row["trend"],
            "percent_active": row["percent_active"],
        }
    )


SPECS: Mapping[str, Spec] = {
    "hubspot-contacts": Spec("hubspot", "contacts", "user", (("email", "email"),), hubspot_contact),
    "hubspot-companies": Spec("hubspot", "companies", "account", (("domain", "domain"),), hubspot_company),
    "hubspot-companies-cooling": Spec(
        "hubspot", "companies", "account", (("domain", "domain"),), hubspot_cooling, "ice_cold"
    ),
    "intercom-contacts": Spec(
        "intercom",
        "contacts",
        "user",
        (("external_id", "user_id"), ("email", "email")),
        intercom_contact,
    ),
    "intercom-companies": Spec(
        "intercom", "companies", "account", (("company_id", "account_id"),), intercom_company
    ),
    "salesforce-accounts": Spec(
        "salesforce", "Account", "account", (("Heatsync_Id__c", "account_id"),), salesforce_account
    ),
    "segment-users": Spec("segment", "users", "user", (), segment_user),
    "segment-accounts": Spec("segment", "groups", "account", (), segment_account),
}
IF_EMPTY = {"csm_note", "CSM_Note__c"}
"""A person's own note is never overwritten."""


def held(record: Record) -> Fields:
    """Where a record has its fields."""
    for part in ("properties", "custom_attributes"):
        if part in record:
            fields: Fields = record[part]
            return fields
    return record


def spell(vendor: str, value: Any) -> Any:
    """A value as the vendor keeps it."""
    if isinstance(value, list):
        return value if vendor == "segment" else ";".join(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        if vendor == "intercom":
            return int(moment.timestamp())
        return moment.strftime("%Y-%m-%dT%H:%M:%S") + (".000+0000" if vendor == "salesforce" else "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return ("true" if value else "false") if vendor == "hubspot" else value
    if isinstance(value, int | float):
        if vendor == "salesforce":
            return float(value)
        whole = int(value) if value == int(value) else value
        return {"hubspot": str(whole), "intercom": whole}.get(vendor, value)
    return value


def otherwise(vendor: str, value: Any) -> Any:
    """The same value in another spelling that is right as well, where there is one: writing it again would show."""
    if isinstance(value, datetime):
        layout = {"hubspot": "%Y-%m-%dT%H:%M:%S.000Z", "salesforce": "%Y-%m-%dT%H:%M:%SZ"}.get(vendor)
        return spell(vendor, value) if layout is None else value.astimezone(UTC).strftime(layout)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if vendor == "hubspot":
            return f"{value}0" if isinstance(value, float) else f"{value}.0"
        return (int(value) if value == int(value) else value) if vendor == "salesforce" else float(value)
    return spell(vendor, value)


def stale(kind: type, vendor: str, value: Any) -> Any:
    """Something else of the same type."""
    if kind is bool:
        return spell(vendor, not value)
    if kind is datetime:
        return spell(vendor, datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC))
    if kind is date:
        return spell(vendor, date(2001, 2, 3))
    return spell(vendor, 4711) if kind in (int, float) else "as it was"
