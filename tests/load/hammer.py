"""A person who does not wait: as many requests as one generator process can make."""

from locust import constant, task

from preflight.load.people import Person


class Hammer(Person):
    space = "backend-node"
    wait_time = constant(0)

    @task
    def poll(self) -> None:
        self.call("GET", "/health")
