"""How many people when: one shape, chosen by --shape."""

from locust import LoadTestShape


class Shape(LoadTestShape):
    """Follows --shape, with -u, -r and -t (or the fields of the web UI) as its measure."""

    # Locust then keeps -u, -r and -t, and their fields in the web UI.
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """People wanted now and how many may come per second; None ends the run."""
        assert self.runner and self.runner.environment.parsed_options
        options = self.runner.environment.parsed_options
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]
        if options.run_time and seconds >= options.run_time:
            return None
        return options.num_users or 1, options.spawn_rate or 1
