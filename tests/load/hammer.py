"""A person without pauses: sends as many requests as a generator process can."""

from locust import constant, task

from preflight.load.people import Person


class Hammer(Person):
    space = "backend-node"
    wait_time = constant(0)

    @task
    def poll(self) -> None:
        self.call("GET", "/health")
