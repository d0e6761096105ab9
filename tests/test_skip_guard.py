"""The guard in conftest.py against tests that are skipped in CI without anybody noticing."""

import pytest
from conftest import SkipGuard

SKIPPING = """
import pytest

def test_passes(): pass

@pytest.mark.skip(reason="no engine")
def test_skips(): pass

@pytest.mark.xfail(reason="known")
def test_is_known_to_fail(): assert False
"""


def test_an_unexpected_skip_fails_the_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SKIPPING)
    result = pytester.inline_run("-p", "no:cacheprovider", plugins=[SkipGuard(frozenset())])
    result.assertoutcome(passed=1, skipped=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_an_allowed_skip_does_not(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(SKIPPING)
    allowed = frozenset({f"{path.name}::test_skips"})
    result = pytester.inline_run("-p", "no:cacheprovider", plugins=[SkipGuard(allowed)])
    assert result.ret == pytest.ExitCode.OK


def test_a_module_that_skips_itself_is_noticed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_whole="import pytest; pytest.importorskip('no_such_module')",
        test_other="def test_passes(): pass",
    )
    result = pytester.inline_run("-p", "no:cacheprovider", plugins=[SkipGuard(frozenset())])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
