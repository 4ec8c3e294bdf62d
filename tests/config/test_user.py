"""A process with a user id that the system does not know; only root may start one."""

import os
import subprocess
import sys

import pytest

CODE = """
import getpass, os, sys
from pathlib import Path
from cxr_ray.config.user import name_user
os.setgid(54321)
os.setuid(54321)
name_user()
print(Path.home(), getpass.getuser())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become a user whom the system does not know")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "/nonexistent user54321"),
        ({"HOME": "/srv"}, "/srv user54321"),
        ({"LOGNAME": "ada", "HOME": "/srv"}, "/srv ada"),
    ],
)
def test_a_user_whom_the_system_does_not_know_gets_a_name_and_a_home_that_does_not_exist(given, expected):
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == expected, done.stderr
