"""The packages, found by looking: the rest of the metadata is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["pkpo_sandbox", "pkpo_sandbox.*"]),
        *(f"pkpo_sandbox.{name}" for name in find_packages(include=["conf", "conf.*"])),
        *find_packages("envs"),
    ]
)
