"""What a person can do about an outcome, by its code."""

CURES = {
    "ambiguous": "Merge the records over there, or match by a key that is unique.",
    "bad_value": "Correct the value in the source, or give the field a `map` or `as` in the mapping.",
    "conflict": "Another record over there holds this key: merge the two, or match by it.",
    "duplicate": "The record exists more than once over there: merge the copies.",
    "duplicate_key": "Two of our records have the same key: make it unique in the source.",
    "field_missing": "Create the field over there, or set `create_fields: true` in the mapping; then"
    " `heatsync retry` and `heatsync sync`.",
    "locked": "Somebody else was writing the record; it is sent again by itself.",
    "no_answer": "It is not known whether it took effect; the next sync looks before it sends it again.",
    "no_key": "Give the record a value in the column that the mapping matches by.",
    "no_member": "Give the account a member, or set `anonymous: true` in the mapping.",
    "not_a_number": "Correct the value in the source: NaN and infinity cannot be sent.",
    "not_found": "The record is gone over there; the next sync looks for it again.",
    "out_of_range": "The number has more than 64 bits: send it as text (`as: text`).",
    "permission": "Grant the token the scope or the field permission that the vendor names.",
    "read_only": "The field cannot be written over there: map another one.",
    "refused": "Read the vendor's answer; it names what it wants.",
    "same_record": "Two of our records are one over there: make their keys differ, or merge them in the source.",
    "there_already": "Nothing: the next sync looks at what stands there.",
    "too_large": "The record is larger than the vendor takes: map fewer or shorter fields.",
    "too_long": "The text is longer than the field: shorten it in the mapping, e.g. with `sql: left(...)`.",
    "unanswered": "The vendor did not say what became of it; the next sync sends it again.",
    "unmatched": "There is no such record over there. It is looked for again later, or use `mode: upsert`.",
}
"""One sentence per stable code of `failures`; a test keeps every code that is ever used in here."""


def cure(code: str) -> str:
    """The sentence for a code; of an unknown one, where to look."""
    return CURES.get(code, "Read the vendor's answer.")
