"""People who use backend-py."""

from locust import between, task

from loadtests import journeys
from preflight.load.people import Monitor, Person


class Reader(Person):
    space = "backend-py"
    origin = journeys.ORIGIN
    # Seconds, not the minutes that a real reader takes: a reader here stands for about a hundred, and a
    # run of ten seconds includes whole visits.
    wait_time = between(0.1, 0.3)

    @task
    def read(self) -> None:
        journeys.read(self)


class BackendPyMonitor(Monitor):
    space = "backend-py"
