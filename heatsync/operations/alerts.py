"""One message to a webhook when somebody must look. Counts and causes only: never a name, an address or a value."""

import requests

from connectors.errors import HeatsyncError


def post(webhook: str, text: str) -> None:
    """Send `text` in the shape that Slack's incoming webhooks and their many imitators take: {"text": ...}.

    Raises HeatsyncError when it could not be sent; the caller goes on and says so.
    """
    try:
        answer = requests.post(webhook, json={"text": text}, timeout=(3, 10))
    except requests.RequestException as error:
        raise HeatsyncError(f"The alert could not be sent: {type(error).__name__}.") from error
    if answer.status_code >= 300:
        raise HeatsyncError(f"The alert was refused: the webhook answered {answer.status_code}.")
