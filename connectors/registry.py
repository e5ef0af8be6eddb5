"""The vendors that a destination can be of, by the type that heatsync.yml names."""

from collections.abc import Mapping

from connectors import segment
from connectors.destination import Vendor
from connectors.hubspot import destination as hubspot
from connectors.intercom import destination as intercom
from connectors.salesforce import destination as salesforce

VENDORS: Mapping[str, Vendor] = {
    each.type: each for each in (segment.VENDOR, intercom.VENDOR, hubspot.VENDOR, salesforce.VENDOR)
}
