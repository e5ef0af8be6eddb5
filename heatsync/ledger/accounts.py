"""Which account at the destination a credential belongs to."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence

import sqlalchemy as sa

from connectors.types import Account
from heatsync.ledger import tables as t
from heatsync.ledger.database import LedgerPart


class Accounts(LedgerPart):
    """Accounts by the keyed hash of a credential. A credential itself is never stored."""

    def credential_hash(self, vendor: str, settings: Sequence[str]) -> str:
        """A keyed hash of a credential: only with this ledger's key can it be computed again."""
        name = t.secrets.c.name == "credential"
        with self.database.writing() as connection:
            key = connection.scalar(sa.select(t.secrets.c.value).where(name))
            if key is None:
                new = self.database.insert(t.secrets).values(name="credential", value=secrets.token_hex(32))
                connection.execute(new.on_conflict_do_nothing())
                key = str(connection.scalar(sa.select(t.secrets.c.value).where(name)))
        text = "\x1f".join([vendor, *settings])
        return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()

    def known_account(self, credential: str) -> tuple[str, Account] | None:
        """The account of a credential (a hash) with its name in the ledger; None if it was never asked for."""
        with self.database.reading() as connection:
            row = connection.execute(
                sa.select(t.accounts).where(t.accounts.c.credential == credential)
            ).first()
        return (row.account, Account(row.kind, row.id, row.name)) if row is not None else None

    def remember_account(self, credential: str, vendor: str, account: Account) -> str:
        """Remember the account of a credential (a hash). Returns the account's name in the ledger."""
        name = f"{vendor}:{account.id}"
        row = {
            "credential": credential,
            "account": name,
            "kind": account.kind,
            "id": account.id,
            "name": account.name,
            "asked_at": time.time(),
        }
        with self.database.writing() as connection:
            self.database.upsert(t.accounts, [row], connection)
        return name
