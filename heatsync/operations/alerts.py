"""One message to a webhook when a person is needed. Counts and causes only: never a name, an address or a value."""

import requests

from connectors.errors import HeatsyncError


def post(webhook: str, text: str) -> None:
    """Post `text` as {"text": ...}, the format of Slack's incoming webhooks and compatible services.

    Raises HeatsyncError if it cannot be sent; the caller logs that and continues.
    """
    try:
        answer = requests.post(webhook, json={"text": text}, timeout=(3, 10))
    except requests.RequestException as error:
        raise HeatsyncError(f"The alert could not be sent: {type(error).__name__}.") from error
    if answer.status_code >= 300:
        raise HeatsyncError(f"The alert was refused: the webhook answered {answer.status_code}.")
