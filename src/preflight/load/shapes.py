"""How many people when: the one shape of Locust's, which follows --shape."""

from __future__ import annotations

from locust import LoadTestShape

from preflight.load import plan

STEP = 15
# Seconds after a change of people in which nothing is judged.
SETTLE = 5
# People a second who come where the shape decides. Locust warns of more than a hundred; those of the
# open model are there before their first visit.
AT_ONCE, WAITING = 100, 10_000


class Shape(LoadTestShape):
    """Follows --shape, with -u, -r and -t (or the fields of the web UI) as its measure."""

    # Locust then keeps -u, -r and -t, and their fields in the web UI.
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """People wanted now and how many may come per second; None ends the run."""
        assert self.runner and self.runner.environment.parsed_options
        options = self.runner.environment.parsed_options
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]
        end, people = plan.seconds(options), options.num_users or plan.PEOPLE
        if end and seconds >= end:
            return None
        if options.shape == "step":
            people = round(people * 1.5 ** (seconds // STEP))
        elif options.shape == "spike" and end / 3 <= seconds < end * 2 / 3:
            people *= 5
        if options.shape in plan.OF_PEOPLE:
            return people, AT_ONCE
        return people, WAITING if plan.rate(options) else options.spawn_rate or plan.PEOPLE
