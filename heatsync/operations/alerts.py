"""One message to a webhook when a person is needed. Counts and causes only: never a name, an address or a value."""

import logging

import requests

from connectors.errors import HeatsyncError
from heatsync.ledger import RunState
from heatsync.sync import run as sync_run
from heatsync.sync.context import Context

log = logging.getLogger("heatsync")


def report_run(context: Context, run: str, mapping: str | None = None) -> None:
    """Notify the webhook, if there is one, of what a person must look at: in a run, or in one mapping's share of it."""
    lines = []
    for row in context.ledger.runs(run):
        if mapping is not None and row.mapping != mapping:
            continue
        lost = sync_run.undelivered(context, row)
        if row.state in (RunState.HELD, RunState.FAILED) or lost:
            cause = row.cause.partition("\n")[0]
            lines.append(f"{row.mapping}: {row.state}, {lost} not delivered. {cause}".strip())
    if lines:
        notify(context, f"heatsync {run}\n" + "\n".join(lines))


def notify(context: Context, text: str) -> None:
    """Post a text to the webhook, if there is one. A failure to post stops nothing; it is logged."""
    webhook = context.workspace.alerts_webhook
    if webhook is None:
        return
    try:
        post(webhook, text)
    except HeatsyncError as error:
        log.warning("%s", error)


def post(webhook: str, text: str) -> None:
    """Post `text` as {"text": ...}, the format of Slack's incoming webhooks and compatible services.

    Raises HeatsyncError if it cannot be sent.
    """
    try:
        answer = requests.post(webhook, json={"text": text}, timeout=(3, 10))
    except requests.RequestException as error:
        raise HeatsyncError(f"The alert could not be sent: {type(error).__name__}.") from error
    if answer.status_code >= 300:
        raise HeatsyncError(f"The alert was refused: the webhook answered {answer.status_code}.")
