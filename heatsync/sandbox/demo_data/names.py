"""The names of the invented people and companies of the demo.

Some have what real names have: apostrophes, hyphens, accents, and letters outside Latin.
"""

import unicodedata
from collections.abc import Iterator
from itertools import count


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Ada Amara Anna Antonio Astrid Ben Björn Carla Chen Chloé Dmitri Elif Emeka Emma Farah Felix Fatima Grace "
    "Hana Hugo Ines Ivan Jamal Jana João Julia Kai Kenji Lars Lea Lena Liam Lucía Maja Marco Mei Mia Nadia Nikos "
    "Noah Nora Olga Omar Paul Priya Quinn Rosa Ravi Sara Sean Siân Sofia Tariq Tom Uma Vera Wei Yara Zoë Zsófia"
)
LAST = _words(
    "Adeyemi Andersson Bauer Becker Bianchi Brown Castro Chen Costa D'Angelo Dubois Eriksen Fischer García Gupta "
    "Haddad Hansen Horváth Ito Ivanov Jensen Johnson Kaya Keller Kim Kovač Kowalski Lange Larsen Lopez Martin "
    "Meyer Moreau Müller Nakamura Nguyen Nowak O'Brien O'Neill Okafor Olsen Park Patel Petrov Popescu Quist Rossi "
    "Sánchez Schmidt Silva Singh Smith-Jones Sørensen Tanaka Tóth Usman Virtanen Weber Wójcik Yilmaz Žižka"
)
_COMPANY = _words(
    "Acorn Alder Amber Anchor Arrow Aster Atlas Beacon Birch Bluebird Bright Bridge Canyon Cedar Clover Cobalt "
    "Compass Copper Coral Crane Delta Ember Falcon Fern Flint Forge Garnet Glacier Harbor Hazel Heron Ivory Juniper "
    "Kestrel Lantern Lark Linden Lumen Maple Marble Meadow Mercury Mosaic North Oak Olive Onyx Orchard Otter Pebble "
    "Pine Pioneer Prairie Quarry Quartz Raven River Rowan Saffron Sage Signal Silver Sparrow Spruce Summit Swift "
    "Tamarack Tandem Thistle Timber Topaz Vector Violet Walnut Willow Wren Zephyr"
)
_TRADE = (
    "Analytics",
    "& Sons",
    "Bank",
    "Care",
    "Cloud",
    "Energy",
    "Foods",
    "Freight",
    "Health",
    "Insurance",
    "Labs",
    "Logistics",
    "Media",
    "Motors",
    "Optics",
    "Partners",
    "Robotics",
    "Software",
    "Studios",
    "Travel",
    "Works",
)
# No common factor with the number of names: neighbours differ, and no name repeats before all were used.
_STRIDE = 610


def companies() -> Iterator[tuple[str, str]]:
    """Company names and their domains, without end and without repetition."""
    total = len(_COMPANY) * len(_TRADE)
    for number in count():
        lap, place = divmod(number, total)
        place = place * _STRIDE % total
        word, trade = _COMPANY[place // len(_TRADE)], _TRADE[place % len(_TRADE)]
        suffix = f" {lap + 1}" if lap else ""
        yield f"{word} {trade}{suffix}", f"{plain(word + trade + suffix)}.example"


def person(draw: float) -> tuple[str, str]:
    """First and last name for a number in [0, 1)."""
    place = int(draw * len(FIRST) * len(LAST))
    return FIRST[place // len(LAST)], LAST[place % len(LAST)]


def plain(name: str) -> str:
    """The letters and digits of a name in an e-mail address: `Žižka` is `zizka`."""
    lowered = name.replace("ø", "o").replace("ß", "ss")
    letters = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in letters if letter.isalnum())
