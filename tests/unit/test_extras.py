"""Optional packages: found, or named with what installs them."""

import math

import pytest

from prunable.errors import InputError
from prunable.extras import extra


def test_what_is_installed_is_imported():
    assert extra("math", "measure", "none") is math


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match=r"`measure` needs absent-package.*prunable\[html\]"):
        extra("absent_package.inside", "measure", "html")
