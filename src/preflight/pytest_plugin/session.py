"""The plugins that a run of the contract needs: targets, life cycle and report."""

pytest_plugins = [
    "preflight.pytest_plugin.targets",
    "preflight.pytest_plugin.life_cycle",
    "preflight.pytest_plugin.progress",
    "preflight.pytest_plugin.values",
    "preflight.pytest_plugin.report",
    "preflight.pytest_plugin.terminal",
]
