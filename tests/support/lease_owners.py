"""Owners of leases in processes of another host."""

from heatsync.ledger import LeaseOwner, Process


def owner(id: str, pid: int = 1) -> LeaseOwner:
    """An owner of this id, in a process of a host that is not this one."""
    return LeaseOwner(id, Process("elsewhere", pid))
