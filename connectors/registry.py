"""The vendors that a destination can be of, by the type that heatsync.yml names."""

from collections.abc import Mapping

from connectors import hubspot, intercom, salesforce, segment
from connectors.base import Vendor

VENDORS: Mapping[str, Vendor] = {
    each.type: each for each in (segment.VENDOR, intercom.VENDOR, hubspot.VENDOR, salesforce.VENDOR)
}
