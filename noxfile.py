"""The suite on every Python that is promised: `nox`, or `nox -s tests-3.12 -- tests/unit`."""

import nox

PYTHONS = ("3.11", "3.12", "3.13")

nox.options.sessions = [*(f"tests-{version}" for version in PYTHONS), "bare", "package"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, or those that are named, with everything installed."""
    session.install("--constraint", "constraints.txt", "--editable", ".[dev]")
    session.run("pytest", "-q", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=PYTHONS)
def bare(session: nox.Session) -> None:
    """Install without extras, and type what must work then."""
    session.install("--constraint", "constraints.txt", ".", "pytest", "pytest-timeout")
    session.run("pytest", "-q", "tests/integration/test_without_extras.py", "--noconftest")


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, and check them."""
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", session.create_tmp())
    session.run("twine", "check", "--strict", f"{session.create_tmp()}/*")
