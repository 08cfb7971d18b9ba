"""How many people when: one shape, chosen by --shape."""

from argparse import Namespace

from locust import LoadTestShape

# What to find out with each, and how many seconds it takes unless --run-time says so.
SHAPES = {
    "steady": ("-u people for -t", 0),
    "smoke": ("30 seconds", 30),
    "step": ("half as many people more every 15 s until each Space has crossed", 600),
    "spike": ("five times the people for the middle third; judged is the third after it", 90),
    "soak": ("an hour; --watch what must not grow", 3600),
    "wake": ("30 seconds, everybody at once, to Spaces that sleep behind the edge", 30),
}
STEP = 15
# Seconds after a change of people in which nothing is judged.
SETTLE = 5


def planned(options: Namespace) -> int:
    """Seconds that a run takes; 0 is until somebody stops it."""
    return int(options.run_time or SHAPES[options.shape][1])


class Shape(LoadTestShape):
    """Follows --shape, with -u, -r and -t (or the fields of the web UI) as its measure."""

    # Locust then keeps -u, -r and -t, and their fields in the web UI.
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """People wanted now and how many may come per second; None ends the run."""
        assert self.runner and self.runner.environment.parsed_options
        options = self.runner.environment.parsed_options
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]
        end, people = planned(options), options.num_users or 10
        if end and seconds >= end:
            return None
        if options.shape == "step":
            people = round(people * 1.5 ** (seconds // STEP))
        elif options.shape == "spike" and end / 3 <= seconds < end * 2 / 3:
            people *= 5
        if options.shape in ("step", "spike", "wake"):
            return people, 100  # at once; Locust warns of more than a hundred a second
        return people, options.spawn_rate or 10
