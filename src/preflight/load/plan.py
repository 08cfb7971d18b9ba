"""The plan of a run from its options: shape, length, people and rate. Nothing here needs Locust."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any

# The help text of each shape, and its seconds unless --run-time sets them.
SHAPES = {
    "steady": ("-u people for -t", 0),
    "smoke": ("30 seconds", 30),
    "step": ("the people grow by half every 15 s until each Space has crossed", 600),
    "spike": ("five times the people for the middle third; the last third is judged", 90),
    "soak": ("an hour; with --watch, growth is judged", 3600),
    "wake": ("30 seconds, all people at once, to Spaces that sleep behind the edge", 30),
    "ramp:LOW..HIGH": ("arrivals at a rate that rises from LOW to HIGH a second", 60),
}
RAMP = re.compile(r"ramp:(\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?)")
# Shapes that change the number of people, so they can't keep a rate.
OF_PEOPLE = ("step", "spike", "wake")
# People, and how many start per second, unless -u and -r set them.
PEOPLE = 10
# In the open model, people per arrival a second: enough for a stall of as many seconds.
PEOPLE_PER_RATE, LEAST_PEOPLE, MOST_PEOPLE = 5, 20, 1000


@dataclass(frozen=True)
class Rate:
    """Arrivals a second: `low` at the start, `high` after `seconds`, in a straight line."""

    low: float
    high: float
    seconds: float

    @property
    def most(self) -> float:
        return max(self.low, self.high)

    @property
    def words(self) -> str:
        return f"{self.low:g}{f' to {self.high:g}' if self.high != self.low else ''} a second"

    def due(self, number: float) -> float:
        """Seconds after the start at which the arrival of this number is due."""
        if not self._slope:
            return number / self.low
        # After t seconds there were low*t + slope*t²/2 arrivals; a falling rate never reaches higher numbers.
        below = self.low**2 + 2 * self._slope * number
        return (math.sqrt(below) - self.low) / self._slope if below >= 0 else math.inf

    def count(self, seconds: float) -> float:
        """The number of arrivals due after so many seconds."""
        return self.low * seconds + self._slope * seconds**2 / 2

    @property
    def _slope(self) -> float:
        return (self.high - self.low) / self.seconds if self.seconds else 0.0


def settle(options: Any) -> None:
    """Set the options that follow from others. A worker does not get Locust's options from its master, only
    the others (Source: locust/runners.py): hence the two `planned_` names."""
    wanted = rate(options)
    if not options.num_users:
        options.num_users = people_for(wanted) if wanted else PEOPLE
    if not options.spawn_rate:
        options.spawn_rate = PEOPLE
    options.planned_people, options.planned_seconds = options.num_users, seconds(options)


def seconds(options: Any) -> int:
    """Length of a run in seconds; 0: until it is stopped."""
    kind = "ramp:LOW..HIGH" if options.shape.startswith("ramp:") else options.shape
    return int(options.run_time or SHAPES[kind][1])


def rate(options: Any) -> Rate | None:
    """The rate of --rate or `--shape ramp:LOW..HIGH`; None for the closed model."""
    length = float(getattr(options, "planned_seconds", 0) or seconds(options))
    if ramp := RAMP.fullmatch(options.shape):
        return Rate(float(ramp[1]), float(ramp[2]), length)
    return Rate(options.rate, options.rate, length) if options.rate else None


def people_for(wanted: Rate) -> int:
    """The number of people that a rate needs."""
    return min(MOST_PEOPLE, max(LEAST_PEOPLE, math.ceil(wanted.most * PEOPLE_PER_RATE)))


def a_number(text: str) -> float:
    """The value of --rate, --max-rate and --think. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return value


def a_shape(text: str) -> str:
    """The value of --shape. Raises ArgumentTypeError."""
    ramp = RAMP.fullmatch(text)
    if (ramp and float(ramp[1]) > 0 and float(ramp[2]) > 0) or (text in SHAPES and ":" not in text):
        return text
    raise ArgumentTypeError(
        f"must be one of {', '.join(SHAPES)}, such as ramp:10..200, not {text!r}"
    )
