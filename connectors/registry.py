"""The known vendors, by the type that heatsync.yml names. A new vendor is one more line here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from connectors import segment
from connectors.destination import Vendor
from connectors.hubspot import destination as hubspot
from connectors.intercom import destination as intercom
from connectors.salesforce import destination as salesforce

_vendors: dict[str, Vendor] = {
    vendor.type: vendor
    for vendor in (
        segment.VENDOR,
        intercom.VENDOR,
        hubspot.VENDOR,
        salesforce.VENDOR,
    )
}
VENDORS: Mapping[str, Vendor] = _vendors


@contextmanager
def registered(vendor: Vendor) -> Iterator[None]:
    """One more vendor until the block ends."""
    _vendors[vendor.type] = vendor
    try:
        yield
    finally:
        del _vendors[vendor.type]
