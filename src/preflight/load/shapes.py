"""The Locust shape class, which sets the number of people by --shape."""

from __future__ import annotations

from locust import LoadTestShape

from preflight.load import plan

STEP = 15
# Seconds after a change of the number of people that are not judged.
SETTLE = 5
# People who start per second if the shape decides. Locust warns above a hundred. The people of the open
# model all start before their first visit.
AT_ONCE, WAITING = 100, 10_000


class Shape(LoadTestShape):
    """Follows --shape, scaled by -u, -r and -t or the fields of the web UI."""

    # Locust then accepts -u, -r and -t, and shows their fields in the web UI.
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """The number of people now, and how many may start per second; None ends the run."""
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
