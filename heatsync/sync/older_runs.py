"""The end of a mapping's older runs, before a new one is planned: a stale value never overwrites a newer one."""

import time

from connectors.errors import Unavailable
from heatsync.sync.context import Context, OnProgress
from heatsync.sync.deliver import DeliveryState, deliver
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.mapping.model import Mapping


def finish_older_runs(
    context: Context, mapping: Mapping, opened: OpenDestination, progress: OnProgress
) -> int:
    """Supersede older runs: their pending batches are void. Wait for batches that a worker began.

    Wait also for the destination's jobs, which would overwrite newer values later; this includes jobs of mappings that
    no longer exist. A batch that is put back unfinished in the meantime is void as well: hence the loop. Returns how many
    records turned out undelivered: their own run is over, and nothing else would report them.

    Raises Unavailable when that takes longer than `Timeouts.older_run`, and the error that stopped a delivery.
    """
    patience = context.timeouts.older_run
    began, until, lost = time.time(), time.monotonic() + patience, 0
    reason, job = f"{mapping.name}: an older run is still being delivered.", ""
    while context.ledger.supersede(opened.bound, context.mappings):
        context.end_dead_leases()
        for batch, due in context.ledger.batches_with_job(opened.bound, context.mappings):
            wait = due - time.time()
            if wait > patience:
                raise Unavailable(f"{reason} {job}".strip(), wait)
            if wait > 0:
                continue
            result = deliver(context, batch, successor=mapping)
            if result.error is not None and result.state is not DeliveryState.PARKED:
                raise result.error
            job = result.in_progress or job
            if result.state is not DeliveryState.GONE:
                lost += context.ledger.count_undelivered(batch, began)
        if time.monotonic() > until:
            raise Unavailable(f"{reason} {job}".strip(), 60)
        progress(mapping.name, "waiting for an older run", 0, 0)
        context.wait(0.2)
    return lost
