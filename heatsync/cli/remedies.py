"""What a person can do about a rejected record, by the code of its outcome."""

REMEDIES = {
    "ambiguous": "Merge the records at the destination, or match by a unique key.",
    "bad_value": "Correct the value in the source, or give the field a `map` or `as` in the mapping.",
    "conflict": "Another record at the destination has this key: merge the two, or match by this key.",
    "duplicate": "The record exists more than once at the destination: merge the copies.",
    "duplicate_key": "Two of our records have the same key: make it unique in the source.",
    "field_missing": "Create the field at the destination, or set `create_fields: true` in the mapping; then"
    " `heatsync retry` and `heatsync sync`.",
    "locked": "No action needed: another process was writing the record, and it is sent again automatically.",
    "no_answer": "No action needed: it is unknown whether the call took effect, so the next sync reads the record first.",
    "no_key": "Give the record a value in the column that the mapping matches by.",
    "no_member": "Give the account a member, or set `anonymous: true` in the mapping.",
    "not_a_number": "Correct the value in the source: NaN and infinity cannot be sent.",
    "not_found": "No action needed: the record no longer exists at the destination; the next sync looks it up again.",
    "out_of_range": "The number has more than 64 bits: send it as text (`as: text`).",
    "permission": "Grant the token the scope or the field permission that the vendor names.",
    "read_only": "The field is read only at the destination: map another one.",
    "refused": "Read the vendor's answer: it says what is expected.",
    "same_record": "Two of our records resolve to one record at the destination: make their keys differ, or merge them in the source.",
    "there_already": "No action needed: the next sync reads the record.",
    "too_large": "The record is larger than the vendor accepts: map fewer or shorter fields.",
    "too_long": "The text is longer than the field: shorten it in the mapping, e.g. with `sql: left(...)`.",
    "unanswered": "No action needed: the vendor's answer does not mention the record; the next sync sends it again.",
    "unmatched": "The destination has no such record. It is looked up again later. To create it, use `mode: upsert`.",
}
"""One sentence per stable code of `failures`. A test checks that every code in use has one."""


def remedy(code: str) -> str:
    """The sentence for a code; for an unknown one, where to look."""
    return REMEDIES.get(code, "Read the vendor's answer.")
