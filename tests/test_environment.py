"""environment.yml and pyproject.toml ask for the same packages."""

import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from course_lib.paths import CHECKOUT


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda():
    """The conda requirements, and the list that conda hands to pip."""
    dependencies = yaml.safe_load((CHECKOUT / "environment.yml").read_text())["dependencies"]
    plain = [d for d in dependencies if isinstance(d, str)]
    (nested,) = [d for d in dependencies if isinstance(d, dict)]
    return plain, nested["pip"]


def asked_for(requirements):
    """What is asked for, however it is spelt: name, extras, versions, and on which systems."""
    parsed = map(Requirement, requirements)
    return sorted((r.name, sorted(r.extras), str(r.specifier), str(r.marker)) for r in parsed)


def test_conda_users_get_the_same_packages_as_everyone_else(project, conda):
    assert asked_for(conda[1]) == asked_for(project["dependencies"])


def test_conda_makes_a_python_that_the_course_supports(project, conda):
    (python,) = [Requirement(d) for d in conda[0] if d.startswith("python")]
    assert python.specifier == SpecifierSet(project["requires-python"])


def test_what_the_extension_is_compiled_against_is_pinned_exactly(project):
    requirements = [*project["dependencies"], *project["optional-dependencies"]["cuda"]]
    versions = {"mlx": set(), "nanobind": set()}
    for requirement in map(Requirement, requirements):
        if requirement.name in versions:
            versions[requirement.name].add(str(requirement.specifier))
    for name, asked in versions.items():
        assert len(asked) == 1, f"{name} is asked for in several versions: {asked}"
        assert asked.pop().startswith("=="), name
