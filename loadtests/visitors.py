"""People who use backend-node."""

from locust import between, task

from loadtests import journeys
from preflight.load.people import Monitor, Person


class Visitor(Person):
    space = "backend-node"
    origin = journeys.ORIGIN
    # As for a Reader. Three of the fourteen steps hash a password, with a tenth of a second of CPU each.
    # That is far more than in real life, where sessions last for days.
    wait_time = between(0.1, 0.3)

    @task
    def sign_up_and_in(self) -> None:
        journeys.sign_up_and_in(self)


class BackendNodeMonitor(Monitor):
    space = "backend-node"
