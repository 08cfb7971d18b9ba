"""A Space's environment: its declaration, the types of its variables, the cases to try."""

from preflight.model.environment.declaration import (
    Case,
    EnvironmentDeclaration,
    EnvironmentDeclarationError,
)
from preflight.model.environment.parser import Fault
from preflight.model.environment.variable import Condition, Variable

__all__ = [
    "Case",
    "Condition",
    "EnvironmentDeclaration",
    "EnvironmentDeclarationError",
    "Fault",
    "Variable",
]
